/* The order of both families: of hither_order, and of the module for getaddrinfo. Usage: families NAME. Prints "library ADDRESS" and
 * "module ADDRESS", best first. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <hither.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

struct tuple {
  struct tuple *next;
  char *name;
  int family;
  unsigned char address[16];
  unsigned scope;
};

static void show(const char *from, int family, const void *octets) {
  char text[INET6_ADDRSTRLEN];
  printf("%s %s\n", from, inet_ntop(family, octets, text, sizeof text));
}

int main(int argc, char **argv) {
  hither table;
  hither_entry entry;
  char buffer[8192];
  size_t needed = 0;
  const hither_address *order[64] = {NULL};
  if (argc != 2 || hither_abi() != HITHER_ABI) return 2;
  hither_open(&table, NULL);
  if (hither_lookup(&table, argv[1], HITHER_BOTH, &entry, buffer, sizeof buffer, &needed) > HITHER_PARTIAL) return 3;
  size_t count = hither_order(&entry, order, 64);
  if (count != entry.a.count + entry.aaaa.count || hither_order(NULL, order, 64) != 0) return 4;
  for (size_t n = 0; n < count; n++) show("library", (int)order[n]->family, order[n]->octets);
  /* The first places alone, and none. */
  const hither_address *first[2] = {NULL, NULL};
  if (hither_order(&entry, first, 1) != count || first[0] != order[0] || first[1]) return 5;
  if (hither_order(&entry, NULL, 0) != count) return 6;
  /* In a buffer that was enough for earlier versions, IPv4 comes first. */
  size_t small = needed - 3 * count - 4;
  if (hither_lookup(&table, argv[1], HITHER_BOTH, &entry, buffer, small, NULL) > HITHER_PARTIAL) return 7;
  if (hither_order(&entry, order, 64) != count || order[0] != entry.a.addresses) return 8;
  hither_close(&table);

  void *module = dlopen("libnss_hither.so.2", RTLD_NOW);
  int (*by4)(const char *, struct tuple **, char *, size_t, int *, int *, int *) = NULL;
  if (!module) return 9;
  *(void **)&by4 = dlsym(module, "_nss_hither_gethostbyname4_r");
  struct tuple *list = NULL;
  int why = 0;
  if (!by4 || by4(argv[1], &list, buffer, sizeof buffer, &errno, &why, NULL) != 1) return 10;
  for (; list; list = list->next) show("module", list->family, list->address);
  return 0;
}
