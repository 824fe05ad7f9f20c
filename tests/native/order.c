/* Prints the addresses that getaddrinfo gives for each name by the NSS module hither, in their order, one line a name.
 * Usage: order FAMILY NAME... (FAMILY: 0 both, 2 IPv4, 10 IPv6; -1 both, in the order in which the module gives them to getaddrinfo) */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <stdlib.h>

static int show_module(const char *name) {
  char buffer[8192], text[INET6_ADDRSTRLEN];
  struct gaih_addrtuple *list = NULL;
  int error, why;
  void *module = dlopen("libnss_hither.so.2", RTLD_NOW);
  enum nss_status (*ask)(const char *, struct gaih_addrtuple **, char *, size_t, int *, int *, int32_t *) =
      module ? dlsym(module, "_nss_hither_gethostbyname4_r") : NULL;
  if (!ask || ask(name, &list, buffer, sizeof buffer, &error, &why, NULL) != NSS_STATUS_SUCCESS) return 1;
  for (struct gaih_addrtuple *one = list; one; one = one->next)
    printf("%s%s", one == list ? "" : " ", inet_ntop(one->family, one->addr, text, sizeof text));
  printf("\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3 || __nss_configure_lookup("hosts", "hither")) return 2;
  for (int n = 2; n < argc; n++) {
    struct addrinfo hints = {.ai_family = atoi(argv[1]), .ai_socktype = SOCK_STREAM}, *list = NULL;
    char text[NI_MAXHOST];
    if (hints.ai_family < 0) {
      if (show_module(argv[n])) return 1;
      continue;
    }
    int result = getaddrinfo(argv[n], NULL, &hints, &list);
    if (result) printf("%s", gai_strerror(result));
    for (struct addrinfo *one = list; one; one = one->ai_next) {
      if (getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST)) return 1;
      printf("%s%s", one == list ? "" : " ", text);
    }
    printf("\n");
    if (list) freeaddrinfo(list);
  }
  return 0;
}
