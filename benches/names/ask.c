/* ask gai|ghbn NAME BATCHES CALLS: prints the nanoseconds of one call, as the median of BATCHES batches of CALLS calls, and the number of addresses. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int ask(int gai, const char *name) {
  int count = 0;
  if (gai) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(name, NULL, &hints, &list)) return -1;
    for (struct addrinfo *one = list; one; one = one->ai_next) count++;
    freeaddrinfo(list);
  } else {
    struct hostent host, *found = NULL;
    static char buffer[16384];
    int why;
    if (gethostbyname2_r(name, AF_INET, &host, buffer, sizeof buffer, &found, &why) || !found) return -1;
    while (host.h_addr_list[count]) count++;
  }
  return count;
}

static int order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int gai = !strcmp(argv[1], "gai"), batches = atoi(argv[3]), calls = atoi(argv[4]);
  int count = ask(gai, argv[2]);
  double *all = calloc((size_t)batches, sizeof *all);
  for (int b = 0; b < batches; b++) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int n = 0; n < calls; n++)
      if (ask(gai, argv[2]) != count) return 1;
    clock_gettime(CLOCK_MONOTONIC, &to);
    all[b] = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / calls;
  }
  qsort(all, (size_t)batches, sizeof *all, order);
  printf("%.0f %d\n", batches ? all[batches / 2] : 0, count);
  return count > 0 ? 0 : 1;
}
