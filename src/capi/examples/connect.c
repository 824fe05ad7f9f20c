/* Connects to the nearest address of a name, or to what getaddrinfo gives: cc connect.c $(pkg-config --cflags --libs hither) && ./a.out NAME PORT */
#include <errno.h>
#include <hither.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static hither table; /* of zeros: opened by the first call */

static int by_getaddrinfo(const char *name, const char *port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *one;
  int result = -1;
  if (getaddrinfo(name, port, &hints, &list)) return -1;
  for (one = list; one && result < 0; one = one->ai_next) {
    result = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (result >= 0 && connect(result, one->ai_addr, one->ai_addrlen)) close(result), result = -1;
  }
  freeaddrinfo(list);
  return result;
}

int main(int argc, char **argv) {
  char address[NI_MAXHOST];
  struct sockaddr_storage peer;
  socklen_t len = sizeof peer;
  int connected;
  if (argc != 3 || hither_abi() != HITHER_ABI) return 2;
  int result = hither_connect(&table, argv[1], (uint16_t)atoi(argv[2]), 10000, &connected);
  int has_failed = result == HITHER_NO_ADDRESS || result == HITHER_NOT_CONNECTED;
  if (has_failed) {
    fprintf(stderr, "%s: %s%s%s\n", argv[1], hither_strerror(result), result == HITHER_NOT_CONNECTED ? ": " : "",
            result == HITHER_NOT_CONNECTED ? strerror(errno) : "");
    return 1;
  }
  if (result != HITHER_FRESH) connected = by_getaddrinfo(argv[1], argv[2]);
  if (connected < 0 || getpeername(connected, (struct sockaddr *)&peer, &len)) return 1;
  getnameinfo((struct sockaddr *)&peer, len, address, sizeof address, NULL, 0, NI_NUMERICHOST);
  printf("%s\n", address);
  close(connected);
  return 0;
}
