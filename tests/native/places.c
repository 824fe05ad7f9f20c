/* A process enters another network namespace and returns, as a whole and in one of its threads. Counts how often it reads its namespace.
 * Usage: places DIR NAME, where DIR has the table and NAME has addresses. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <hither.h>
#include <netdb.h>
#include <nss.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what) \
  do { \
    if (!(what)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      exit(1); \
    } \
  } while (0)

static hither table;
static const char *dir, *name;
static atomic_uint looks;
static int home;

/* Replaces the C library's function, also for both libraries. */
ssize_t readlink(const char *path, char *buffer, size_t size) {
  looks++;
  return syscall(SYS_readlinkat, AT_FDCWD, path, buffer, size);
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int by_table(void) {
  hither_entry entry;
  char buffer[4096];
  return hither_lookup(&table, name, HITHER_A, &entry, buffer, sizeof buffer, NULL);
}

static int by_module(void) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list = NULL;
  errno = 77;
  int result = getaddrinfo(name, NULL, &hints, &list);
  if (!result) freeaddrinfo(list);
  return result;
}

static void at_home(void) { CHECK(by_table() == HITHER_FRESH && by_module() == 0); }

static void elsewhere(void) {
  hither fresh;
  CHECK(by_table() == HITHER_OTHER_NETWORK);
  CHECK(by_module() == EAI_AGAIN);
  CHECK(hither_open(&fresh, dir) == HITHER_OTHER_NETWORK);
  hither_close(&fresh);
  CHECK(strstr(hither_strerror(HITHER_OTHER_NETWORK), "network namespace"));
}

/* Continuous lookups, of which few read the namespace. */
static void often(int (*look)(void)) {
  unsigned before = looks, count = 0;
  double from = seconds(), until = from + 0.2;
  for (; seconds() < until; count++) CHECK(look() == 0);
  double windows = (seconds() - from) / 0.134 + 2;
  CHECK(count > 100 && looks - before <= 16 * windows);
}

/* A thread in another namespace beside threads that are not, in a process with continuous lookups. */
static void *stray(void *nothing) {
  CHECK(unshare(CLONE_NEWNET) == 0);
  double until = seconds() + 5;
  while (by_table() != HITHER_OTHER_NETWORK || by_module() != EAI_AGAIN) CHECK(seconds() < until);
  for (int n = 0; n < 200; n++) elsewhere();
  return nothing;
}

static void *steady(void *stop) {
  while (!*(atomic_int *)stop) at_home();
  return NULL;
}

static void threads(void) {
  atomic_int stop = 0;
  pthread_t one, other;
  at_home();
  pthread_create(&one, NULL, steady, &stop);
  pthread_create(&other, NULL, stray, NULL);
  pthread_join(other, NULL);
  stop = 1;
  pthread_join(one, NULL);
}

static void in_child(void (*act)(void)) {
  pid_t child = fork();
  if (child == 0) {
    act();
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void walk_about(void) {
  at_home();
  CHECK(unshare(CLONE_NEWNET) == 0);
  elsewhere();
  in_child(elsewhere);
  CHECK(setns(home, CLONE_NEWNET) == 0);
  at_home();
  CHECK(unshare(CLONE_NEWNET) == 0);
  elsewhere();
}

static void busy(void) {
  often(by_table);
  often(by_module);
}

int main(int argc, char **argv) {
  CHECK(argc == 3 && __nss_configure_lookup("hosts", "hither") == 0);
  dir = argv[1], name = argv[2], home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  CHECK(home >= 0 && hither_open(&table, dir) == HITHER_FRESH);
  in_child(walk_about);
  in_child(busy);
  in_child(threads);
  return 0;
}
