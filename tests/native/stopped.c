/* Looks a name up through the module and through libhither while another thread of the process is stopped in the middle of opening the table.
 * Usage: stopped NAME ADDRESS; fails unless the first address is always this one. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <hither.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *name, *expected;
static sem_t inside, go_on;
static atomic_int stops;

/* Takes the place of the C library's function for both libraries, which map nothing but the table. */
void *mmap(void *at, size_t octets, int protection, int flags, int file, off_t from) {
  if (flags == MAP_SHARED && atomic_exchange(&stops, 0)) {
    sem_post(&inside);
    sem_wait(&go_on);
  }
  return (void *)syscall(SYS_mmap, at, octets, protection, flags, file, from);
}

static int (*module)(const char *, int, struct hostent *, char *, size_t, int *, int *);
static hither table;

static int is_expected(const void *octets) {
  char text[64];
  return !strcmp(inet_ntop(AF_INET, octets, text, sizeof text), expected);
}

static int by_module(void) {
  struct hostent host;
  char buffer[8192];
  int error = 0, why = 0;
  return module(name, AF_INET, &host, buffer, sizeof buffer, &error, &why) == 1 && is_expected(host.h_addr_list[0]);
}

static int by_library(void) {
  hither_entry entry;
  char buffer[8192];
  int result = hither_lookup(&table, name, HITHER_A, &entry, buffer, sizeof buffer, NULL);
  return result == HITHER_FRESH && is_expected(entry.a.addresses[0].octets);
}

static void *look_first(void *look) { return ((int (*)(void))look)() ? "found" : NULL; }

static int one_is_stopped(int (*look)(void)) {
  pthread_t first;
  void *found = NULL;
  int bad = 0;
  atomic_store(&stops, 1);
  pthread_create(&first, NULL, look_first, (void *)look);
  sem_wait(&inside);
  for (int n = 0; n < 100 && !bad; n++) bad = look() ? 0 : 1;
  sem_post(&go_on);
  pthread_join(first, &found);
  if (!bad && !found) bad = 2;
  for (int n = 0; n < 100 && !bad; n++) bad = look() ? 0 : 3;
  return bad;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  name = argv[1], expected = argv[2];
  sem_init(&inside, 0, 0);
  sem_init(&go_on, 0, 0);
  *(void **)&module = dlsym(dlopen("libnss_hither.so.2", RTLD_NOW), "_nss_hither_gethostbyname2_r");
  int bad = module ? one_is_stopped(by_module) : 9;
  if (bad) fprintf(stderr, "the module: step %d\n", bad);
  int worse = one_is_stopped(by_library);
  if (worse) fprintf(stderr, "libhither: step %d\n", worse);
  return bad ? bad : worse;
}
