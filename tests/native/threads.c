/* Many threads look up a name through getaddrinfo and gethostbyname2_r, then through the module alone while the process forks and each child
 * looks it up too.
 * Usage: threads NAME EXPECTED...; fails unless the addresses are always these, in this order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char **expected;
static const char *name;
static int count;

static int look(void) {
  struct hostent host, *found = NULL;
  char buffer[8192], text[64];
  int why = 0;
  if (gethostbyname2_r(name, AF_INET, &host, buffer, sizeof buffer, &found, &why) || !found) return 1;
  for (int n = 0; n < count; n++)
    if (!host.h_addr_list[n] || strcmp(inet_ntop(AF_INET, host.h_addr_list[n], text, sizeof text), expected[n])) return 2;
  if (host.h_addr_list[count]) return 3;
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
  if (getaddrinfo(name, NULL, &hints, &list)) return 4;
  int all = 0;
  for (struct addrinfo *one = list; one; one = one->ai_next) all++;
  freeaddrinfo(list);
  return all < count ? 5 : 0;
}

/* Calls the module directly, since a child that was forked beside other threads may find glibc's own locks held for ever. */
static int (*module)(const char *, int, struct hostent *, char *, size_t, int *, int *);

static int look_directly(void) {
  struct hostent host;
  char buffer[8192], text[64];
  int error = 0, why = 0;
  if (module(name, AF_INET, &host, buffer, sizeof buffer, &error, &why) != 1) return 6;
  for (int n = 0; n < count; n++)
    if (!host.h_addr_list[n] || strcmp(inet_ntop(AF_INET, host.h_addr_list[n], text, sizeof text), expected[n])) return 7;
  return 0;
}

static void *ask_glibc(void *result) {
  for (int n = 0; n < 500 && !*(int *)result; n++) *(int *)result = look();
  return NULL;
}

static void *ask_module(void *result) {
  for (int n = 0; n < 20000 && !*(int *)result; n++) *(int *)result = look_directly();
  return NULL;
}

static int children(int (*ask)(void), int many) {
  int bad = 0, status;
  for (int n = 0; n < many; n++) {
    pid_t child = fork();
    if (child == 0) _exit(ask());
    if (waitpid(child, &status, 0) != child || status) bad = 10 + WEXITSTATUS(status);
  }
  return bad;
}

static int run(void *(*start)(void *), int (*forked)(void), int many) {
  pthread_t threads[8];
  int results[8] = {0};
  for (int n = 0; n < 8; n++) pthread_create(&threads[n], NULL, start, &results[n]);
  int bad = children(forked, many);
  for (int n = 0; n < 8; n++) {
    pthread_join(threads[n], NULL);
    if (results[n]) bad = results[n];
  }
  return bad;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  name = argv[1], expected = argv + 2, count = argc - 2;
  int bad = run(ask_glibc, NULL, 0);
  if (!bad) bad = children(look, 20);
  *(void **)&module = dlsym(dlopen("libnss_hither.so.2", RTLD_NOW), "_nss_hither_gethostbyname2_r");
  if (!bad) bad = module ? run(ask_module, look_directly, 200) : 9;
  if (bad) fprintf(stderr, "%s: step %d\n", name, bad);
  return bad;
}
