/* Prints the results of the C library for each name with these NSS modules: all that a program gets, except for the order of addresses.
 * Usage: names MODULES NAME... */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char found[600][INET6_ADDRSTRLEN];
static size_t count;

static void note(int family, const void *address) {
  if (count < 600) inet_ntop(family, address, found[count++], INET6_ADDRSTRLEN);
}

static void show(void) {
  qsort(found, count, sizeof *found, (int (*)(const void *, const void *))strcmp);
  for (size_t n = 0; n < count; n++) printf(" %s", found[n]);
  printf("\n");
  count = 0;
}

/* A name that does not exist, has no such address or is refused: versions of glibc differ in how they tell these apart. */
static const char *lacks(int why, int again) {
  return again ? "to be asked again" : why == EAI_SYSTEM ? strerror(errno) : "none";
}

static void by_info(const char *name, int family) {
  struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME}, *list = NULL;
  int result = getaddrinfo(name, NULL, &hints, &list);
  printf("  getaddrinfo %d: %s", family, result ? lacks(result, result == EAI_AGAIN) : list->ai_canonname);
  for (struct addrinfo *one = result ? NULL : list; one; one = one->ai_next)
    note(one->ai_family, one->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)one->ai_addr)->sin_addr
                                                   : (void *)&((struct sockaddr_in6 *)one->ai_addr)->sin6_addr);
  show();
  if (!result) freeaddrinfo(list);
}

static void by_name(const char *name, int family) {
  static char buffer[65536];
  struct hostent host, *got = NULL;
  int why = 0;
  gethostbyname2_r(name, family, &host, buffer, sizeof buffer, &got, &why);
  printf("  gethostbyname %d: ", family);
  if (got) {
    printf("%s", got->h_name);
    for (char **alias = got->h_aliases; *alias; alias++) printf(" (%s)", *alias);
    for (char **address = got->h_addr_list; *address; address++) note(family, *address);
  } else {
    printf("%s", lacks(why, why == TRY_AGAIN));
  }
  show();
}

int main(int argc, char **argv) {
  if (argc < 3 || __nss_configure_lookup("hosts", argv[1])) return 2;
  for (int n = 2; n < argc; n++) {
    printf("%s\n", argv[n]);
    by_info(argv[n], AF_UNSPEC);
    by_info(argv[n], AF_INET);
    by_name(argv[n], AF_INET);
    by_name(argv[n], AF_INET6);
  }
  return 0;
}
