/* hither_subscribe and hither_next_change with a daemon that a test plays: DIR EMPTY, where EMPTY has no table. Waits for a line on standard
 * input before each step for which the daemon has to be ready. */
#include <errno.h>
#include <fcntl.h>
#include <hither.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #what, errno); exit(1); } } while (0)

static const char *const names[] = {"WWW.example.", "b.example"};

static void await(void) {
  char line[16];
  CHECK(fgets(line, sizeof line, stdin));
}

static int next(int descriptor, hither_change *change) {
  struct pollfd wait = {.fd = descriptor, .events = POLLIN};
  memset(change, 0x55, sizeof *change);
  CHECK(poll(&wait, 1, 30000) == 1);
  errno = 77;
  int result = hither_next_change(descriptor, change);
  CHECK(errno == 77);
  return result;
}

static void refuses_arguments(hither *table) {
  const char *const odd[] = {"a.example", "a..example"}, *const none[] = {NULL};
  hither_change change;
  int descriptor = 5;
  CHECK(hither_subscribe(NULL, names, 2, HITHER_BOTH, 1000, &descriptor) == HITHER_BAD_ARGUMENT);
  CHECK(hither_subscribe(table, names, 2, HITHER_BOTH, 1000, NULL) == HITHER_BAD_ARGUMENT);
  CHECK(hither_subscribe(table, NULL, 2, HITHER_BOTH, 1000, &descriptor) == HITHER_BAD_ARGUMENT && descriptor == -1);
  CHECK(hither_subscribe(table, names, 0, HITHER_BOTH, 1000, &descriptor) == HITHER_BAD_ARGUMENT);
  CHECK(hither_subscribe(table, names, 2, 4, 1000, &descriptor) == HITHER_BAD_ARGUMENT);
  CHECK(hither_subscribe(table, none, 1, HITHER_A, 1000, &descriptor) == HITHER_BAD_ARGUMENT);
  CHECK(hither_subscribe(table, odd, 2, HITHER_BOTH, 1000, &descriptor) == HITHER_BAD_NAME && descriptor == -1);
  CHECK(hither_next_change(-1, &change) == HITHER_BAD_ARGUMENT);
  CHECK(hither_next_change(0, &change) == HITHER_BAD_ARGUMENT);
  CHECK(hither_next_change(0, NULL) == HITHER_BAD_ARGUMENT);
}

static void follows(hither *table) {
  hither_change change;
  int descriptor, status;
  errno = 77;
  CHECK(hither_subscribe(table, names, 2, HITHER_BOTH, 30000, &descriptor) == HITHER_FRESH && errno == 77);
  CHECK(fcntl(descriptor, F_GETFL) & O_NONBLOCK && fcntl(descriptor, F_GETFD) & FD_CLOEXEC);
  CHECK(hither_next_change(descriptor, &change) == HITHER_NO_CHANGE);
  puts("subscribed");
  CHECK(next(descriptor, &change) == HITHER_FRESH);
  CHECK(!strcmp(change.name, "www.example") && change.family == HITHER_A && change.cause == HITHER_NEW_SET);
  CHECK(change.version == 7 && change.set_version == 7 && !change.coalesced && !change.reserved[0] && !change.reserved[2]);
  CHECK(next(descriptor, &change) == HITHER_GAP && change.version == 0x5555555555555555);
  /* A child has the same subscription. */
  pid_t child = fork();
  if (!child) _exit(next(descriptor, &change) == HITHER_FRESH && change.cause == HITHER_GONE ? 0 : 1);
  CHECK(waitpid(child, &status, 0) == child && !status);
  CHECK(next(descriptor, &change) == HITHER_FRESH && strlen(change.name) == 1003 && change.cause == HITHER_ORDER);
  CHECK(!strncmp(change.name, "\\255\\255", 8) && !strcmp(change.name + 999, "\\255"));
  CHECK(next(descriptor, &change) == HITHER_ENDED && next(descriptor, &change) == HITHER_ENDED);
  close(descriptor);
}

int main(int argc, char **argv) {
  hither table, empty;
  int descriptor;
  if (argc != 3) return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  CHECK(hither_open(&empty, argv[2]) == HITHER_NO_TABLE);
  CHECK(hither_subscribe(&empty, names, 2, HITHER_BOTH, 1000, &descriptor) == HITHER_NO_TABLE && descriptor == -1);
  CHECK(hither_open(&table, argv[1]) == HITHER_FRESH);
  refuses_arguments(&table);
  follows(&table);
  CHECK(hither_subscribe(&table, names, 1, HITHER_A, 30000, &descriptor) == HITHER_REFUSED && descriptor == -1);
  /* A daemon that hangs. */
  CHECK(hither_subscribe(&table, names, 1, HITHER_AAAA, 200, &descriptor) == HITHER_NOT_SUBSCRIBED && errno == ETIMEDOUT);
  puts("waited");
  await();
  CHECK(hither_subscribe(&table, names, 1, HITHER_A, 30000, &descriptor) == HITHER_NOT_SUBSCRIBED && errno == ECONNREFUSED);
  puts("refused");
  await();
  CHECK(hither_subscribe(&table, names, 1, HITHER_A, 30000, &descriptor) == HITHER_NOT_SUBSCRIBED && errno == ENOENT);
  hither_close(&table);
  hither_close(&empty);
  return 0;
}
