/* Connects by hither_connect to NAME at PORT, TIMES times in each of THREADS threads and in as many forked children, and prints once what
 * became of it: the result, and the peer's address or errno. Fails unless every connection ends alike, waits, is closed by execve, and
 * leaves no other descriptor open.
 * Usage: connect NAME PORT TIMEOUT_MS THREADS TIMES SIGNALS (1: a signal every millisecond) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <hither.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) \
  do { \
    if (!(what)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      _exit(1); \
    } \
  } while (0)

static hither table; /* of zeros: the table of the environment */
static const char *name;
static uint16_t port;
static uint32_t timeout_ms;
static int times, noted;

/* What became of one call. */
static void call(char *out, size_t size) {
  char text[INET6_ADDRSTRLEN] = "";
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  int descriptor = 77;
  errno = EXDEV;
  int result = hither_connect(&table, name, port, timeout_ms, &descriptor);
  if (result != HITHER_FRESH) {
    CHECK(descriptor == -1 && (result == HITHER_NOT_CONNECTED || errno == EXDEV));
    snprintf(out, size, "%d %s", result, result == HITHER_NOT_CONNECTED ? strerrorname_np(errno) : "-");
    return;
  }
  CHECK(errno == EXDEV && fcntl(descriptor, F_GETFD) == FD_CLOEXEC && !(fcntl(descriptor, F_GETFL) & O_NONBLOCK));
  CHECK(getpeername(descriptor, (struct sockaddr *)&peer, &len) == 0);
  inet_ntop(peer.ss_family, peer.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&peer)->sin_addr : (void *)&((struct sockaddr_in6 *)&peer)->sin6_addr, text, sizeof text);
  snprintf(out, size, "0 %s", text);
  CHECK(close(descriptor) == 0);
}

static char first[100];

static void *calls(void *nothing) {
  char out[100];
  for (int n = 0; n < times; n++) {
    call(out, sizeof out);
    if (strcmp(out, first)) fprintf(stderr, "%s, but first %s\n", out, first);
    CHECK(!strcmp(out, first));
  }
  return nothing;
}

static int descriptors(void) {
  int count = 0;
  DIR *all = opendir("/proc/self/fd");
  while (readdir(all)) count++;
  closedir(all);
  return count;
}

static void note(int signal) { noted += signal > 0; }

int main(int argc, char **argv) {
  CHECK(argc == 7 && hither_abi() == HITHER_ABI);
  name = argv[1], port = (uint16_t)atoi(argv[2]), timeout_ms = (uint32_t)atoi(argv[3]), times = atoi(argv[5]);
  int threads = atoi(argv[4]), before = descriptors(), status;
  pthread_t all[64];
  CHECK(threads <= 64);
  if (atoi(argv[6])) {
    struct sigaction action = {.sa_handler = note}; /* without SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
  }
  call(first, sizeof first);
  for (int n = 0; n < threads; n++) CHECK(pthread_create(&all[n], NULL, calls, NULL) == 0);
  for (int n = 0; n < threads; n++)
    if (fork() == 0) {
      calls(NULL);
      _exit(0);
    }
  for (int n = 0; n < threads; n++) {
    while (wait(&status) < 0) CHECK(errno == EINTR);
    CHECK(status == 0);
  }
  for (int n = 0; n < threads; n++) CHECK(pthread_join(all[n], NULL) == 0);
  CHECK(descriptors() == before);
  CHECK(hither_connect(&table, NULL, 1, 1, &status) == HITHER_BAD_ARGUMENT && status == -1);
  CHECK(hither_connect(&table, name, 0, 1, &status) == HITHER_BAD_ARGUMENT);
  CHECK(hither_connect(&table, name, 1, 1, NULL) == HITHER_BAD_ARGUMENT);
  CHECK(hither_connect(NULL, name, 1, 1, &status) == HITHER_BAD_ARGUMENT);
  CHECK(hither_connect(&table, "a..b", 1, 1, &status) == HITHER_BAD_NAME);
  puts(first);
  hither_close(&table);
  return 0;
}
