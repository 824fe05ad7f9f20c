/* Prints the addresses that hither has for a name, best first: cc lookup.c $(pkg-config --cflags --libs hither) && ./a.out www.example.com */
#include <arpa/inet.h>
#include <hither.h>
#include <stdio.h>

static void show(const hither_set *set) {
  char text[INET6_ADDRSTRLEN];
  for (uint32_t n = 0; n < set->count; n++) {
    const hither_address *address = &set->addresses[n];
    inet_ntop((int)address->family, address->octets, text, sizeof text);
    printf("%s\n", text);
  }
}

int main(int argc, char **argv) {
  hither table;
  hither_entry entry;
  char buffer[16384];
  size_t needed = 0;
  if (argc != 2 || hither_abi() != HITHER_ABI) return 2;
  hither_open(&table, NULL);
  int result = hither_lookup(&table, argv[1], HITHER_BOTH, &entry, buffer, sizeof buffer, &needed);
  if (result <= HITHER_PARTIAL) {
    show(&entry.a);
    show(&entry.aaaa);
  }
  if (result != HITHER_FRESH) fprintf(stderr, "%s: %s\n", argv[1], hither_strerror(result));
  hither_close(&table);
  return result == HITHER_FRESH ? 0 : 1;
}
