/* Edge cases of libhither: buffers of every size, odd names, wrong arguments, many threads and forks with one handle, a signal mask.
 * Usage: edges DIR NAME COUNT, where NAME has COUNT addresses. */
#include <hither.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static hither table;
static const char *name;
static unsigned total;

#define CHECK(what) \
  do { \
    if (!(what)) { \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
      exit(1); \
    } \
  } while (0)

/* The buffers in use, so that valgrind finds them also in a forked child, where the other threads are gone. */
static char *volatile held[5];

static _Thread_local int own_place;

static void look(void) {
  hither_entry entry;
  size_t needed = 0;
  char *volatile *place = &held[own_place];
  CHECK(hither_lookup(&table, name, HITHER_A, &entry, NULL, 0, &needed) == HITHER_RANGE && needed > 0);
  char *buffer = *place = malloc(needed);
  CHECK(hither_lookup(&table, name, HITHER_A, &entry, buffer, needed, NULL) == HITHER_FRESH);
  CHECK(entry.a.count + entry.aaaa.count == total && entry.version && entry.a.known);
  for (unsigned n = 0; n < entry.a.count; n++) CHECK(entry.a.addresses[n].family == 2 && entry.a.addresses[n].octets[0]);
  CHECK(!entry.a.canonical || strlen(entry.a.canonical) > 0);
  free(buffer);
  *place = NULL;
}

static void *thread(void *number) {
  own_place = (int)(intptr_t)number;
  for (int n = 0; n < 200; n++) look();
  return NULL;
}

int main(int argc, char **argv) {
  hither_entry entry;
  char long_name[600];
  size_t needed = 0;
  CHECK(argc == 4 && hither_abi() == HITHER_ABI);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, NULL);
  name = argv[2], total = (unsigned)atoi(argv[3]);
  CHECK(hither_open(&table, argv[1]) == HITHER_FRESH);
  look();
  CHECK(hither_lookup(&table, name, HITHER_A, &entry, NULL, 0, &needed) == HITHER_RANGE);
  int is_enough = 0; /* Some octets fewer are enough for the addresses, without what hither_trust and its like read. */
  for (size_t size = 0; size < needed; size++) { /* allocated in this size, so that a sanitizer notices access beyond it */
    char *buffer = malloc(size ? size : 1);
    int result = hither_lookup(&table, name, HITHER_A, &entry, buffer, size, NULL);
    CHECK(result == HITHER_RANGE || (result == HITHER_FRESH && hither_trust(&entry.a, 0) == 0));
    CHECK(result == HITHER_FRESH || !is_enough);
    is_enough = result == HITHER_FRESH;
    free(buffer);
  }
  for (int shift = 0; shift < 8; shift++) {
    char *buffer = malloc(needed + 8);
    CHECK(hither_lookup(&table, name, HITHER_A, &entry, buffer + shift, needed, NULL) == HITHER_FRESH);
    free(buffer);
  }
  memset(long_name, 'a', sizeof long_name - 1), long_name[sizeof long_name - 1] = 0;
  CHECK(hither_lookup(&table, long_name, HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_NAME);
  for (size_t n = 50; n < sizeof long_name - 1; n += 51) long_name[n] = '.';
  CHECK(hither_lookup(&table, long_name, HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_NAME);
  CHECK(hither_lookup(&table, "a..b", HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_NAME);
  CHECK(hither_lookup(&table, "", HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_NAME);
  CHECK(hither_lookup(&table, "\xff\xfe.example", HITHER_A, &entry, NULL, 0, NULL) == HITHER_MISSING);
  CHECK(hither_lookup(&table, "a\\000b.example", HITHER_A, &entry, NULL, 0, NULL) == HITHER_MISSING);
  CHECK(hither_lookup(&table, name, 4, &entry, NULL, 0, NULL) == HITHER_BAD_ARGUMENT);
  CHECK(hither_lookup(NULL, name, HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_ARGUMENT);
  CHECK(hither_lookup(&table, NULL, HITHER_A, &entry, NULL, 0, NULL) == HITHER_BAD_ARGUMENT);
  CHECK(hither_open(NULL, NULL) == HITHER_BAD_ARGUMENT && strlen(hither_strerror(99)) > 0);
  uint64_t changes = 0;
  CHECK(hither_wait(&table, &changes, 0) == HITHER_FRESH && changes > 0);
  uint64_t before = changes;
  CHECK(hither_wait(&table, &changes, 20) == HITHER_FRESH && changes == before);
  pthread_t threads[4];
  for (int n = 0; n < 4; n++) pthread_create(&threads[n], NULL, thread, (void *)(intptr_t)(n + 1));
  for (int n = 0; n < 10; n++) {
    pid_t child = fork();
    if (child == 0) {
      look();
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
  }
  for (int n = 0; n < 4; n++) pthread_join(threads[n], NULL);
  hither_close(&table);
  CHECK(hither_open(&table, "/nonexistent") == HITHER_NO_TABLE);
  CHECK(hither_lookup(&table, name, HITHER_A, &entry, NULL, 0, NULL) == HITHER_NO_TABLE);
  return 0;
}
