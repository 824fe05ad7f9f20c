/* Prints the addresses of names, and again when they change: cc subscribe.c $(pkg-config --cflags --libs hither) && ./a.out NAME... */
#include <arpa/inet.h>
#include <errno.h>
#include <hither.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static hither table; /* of zeros: opened by the first call */

static void show(const char *name) {
  hither_entry entry;
  const hither_address *order[64];
  char buffer[16384], text[INET6_ADDRSTRLEN];
  size_t count = 0;
  if (hither_lookup(&table, name, HITHER_BOTH, &entry, buffer, sizeof buffer, NULL) <= HITHER_PARTIAL)
    count = hither_order(&entry, order, sizeof order / sizeof *order);
  printf("%s:", name);
  for (size_t n = 0; n < count && n < sizeof order / sizeof *order; n++)
    printf(" %s", inet_ntop((int)order[n]->family, order[n]->octets, text, sizeof text));
  printf("\n");
  fflush(stdout);
}

/* Waits for a daemon that is not there, or is being restarted. */
static int subscribe(char **names, int count) {
  int descriptor, result;
  for (;;) {
    result = hither_subscribe(&table, (const char *const *)names, (size_t)count, HITHER_BOTH, 2000, &descriptor);
    if (result == HITHER_FRESH) return descriptor;
    if (result != HITHER_NO_TABLE && (result != HITHER_NOT_SUBSCRIBED || errno == EACCES)) break;
    sleep(1);
  }
  fprintf(stderr, "%s%s%s\n", hither_strerror(result), result == HITHER_NOT_SUBSCRIBED ? ": " : "",
          result == HITHER_NOT_SUBSCRIBED ? strerror(errno) : "");
  exit(1);
}

int main(int argc, char **argv) {
  hither_change change;
  if (argc < 2 || hither_abi() != HITHER_ABI) return 2;
  for (;;) {
    struct pollfd wait = {.fd = subscribe(argv + 1, argc - 1), .events = POLLIN};
    int result = HITHER_NO_CHANGE;
    for (int n = 1; n < argc; n++) show(argv[n]); /* after subscribing, so that no change is missed */
    while (result != HITHER_ENDED && result != HITHER_BAD_ARGUMENT) {
      result = hither_next_change(wait.fd, &change);
      if (result == HITHER_FRESH) show(change.name);
      if (result == HITHER_NO_CHANGE) poll(&wait, 1, -1);
    }
    close(wait.fd);
  }
}
