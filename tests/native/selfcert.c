/* Looks up names whose address is a hash of the name, through the NSS module, and counts the results.
 * Usage: selfcert MODULE SECONDS NAMES; the table is in HITHER_RUNTIME_DIR. */
#include <dlfcn.h>
#include <netdb.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

typedef int by_name(const char *, int, struct hostent *, char *, size_t, int *, int *);

/* The FNV-1a hash of the name in wire form. */
static void address_of(const char *name, unsigned char out[4]) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  const char *label = name;
  for (;;) {
    size_t length = strcspn(label, ".");
    hash = (hash ^ length) * 0x100000001b3ULL;
    for (size_t n = 0; n < length; n++) hash = (hash ^ (unsigned char)label[n]) * 0x100000001b3ULL;
    if (!label[length]) break;
    label += length + 1;
  }
  hash = (hash ^ 0) * 0x100000001b3ULL;
  out[0] = 198;
  out[1] = 18 + (hash >> 20 & 1);
  out[2] = hash >> 56;
  out[3] = hash >> 48;
}

int main(int argc, char **argv) {
  void *module = argc > 3 ? dlopen(argv[1], RTLD_NOW) : NULL;
  by_name *look = module ? (by_name *)dlsym(module, "_nss_hither_gethostbyname2_r") : NULL;
  unsigned long right = 0, wrong = 0, none = 0, names = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
  uint64_t state = 17;
  time_t end = time(NULL) + (argc > 3 ? atoi(argv[2]) : 0);
  if (!look) {
    fprintf(stderr, "the module cannot be loaded: %s\n", dlerror());
    return 2;
  }
  while (time(NULL) < end) {
    char name[64], buffer[1024];
    unsigned char wanted[4];
    struct hostent entry;
    int error, reason;
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    snprintf(name, sizeof name, "h%lu.self.example", (unsigned long)(state >> 33) % names);
    address_of(name, wanted);
    if (look(name, AF_INET, &entry, buffer, sizeof buffer, &error, &reason) != 1) {
      none++;
      continue;
    }
    int good = entry.h_addr_list[0] != NULL;
    for (char **address = entry.h_addr_list; *address; address++) good &= memcmp(*address, wanted, 4) == 0;
    *(good ? &right : &wrong) += 1;
  }
  printf("%lu %lu %lu\n", right, wrong, none);
  return 0;
}
