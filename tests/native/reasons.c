/* The reasons that the module returns, called as glibc calls it: with the thread's errno as the place for the error, or another place.
 * Usage: reasons NAME COUNT, where NAME has COUNT IPv4 addresses. www.example has some, none.example does not exist, v4.example has no
 * IPv6 address. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <nss.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CHECK(what) \
  do { \
    if (!(what)) { \
      fprintf(stderr, "%s:%d: %s (errno %s)\n", __FILE__, __LINE__, #what, strerror(errno)); \
      exit(1); \
    } \
  } while (0)

enum { MARK = 77 };
struct tuple {
  struct tuple *next;
  char *name;
  int family;
  unsigned char address[16];
  unsigned scope;
};
static enum nss_status (*by4)(const char *, struct tuple **, char *, size_t, int *, int *, int *);
static enum nss_status (*by2)(const char *, int, struct hostent *, char *, size_t, int *, int *);
static enum nss_status (*by1)(const char *, struct hostent *, char *, size_t, int *, int *);

/* Through the C library: every size of buffer gives ERANGE until the answer fits, which is then complete. */
static void by_library(const char *name, size_t total) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
  for (int family = 0; family < 2; family++) {
    hints.ai_family = family ? AF_INET : AF_UNSPEC;
    CHECK(getaddrinfo(name, NULL, &hints, &list) == 0);
    size_t count = 0;
    for (struct addrinfo *one = list; one; one = one->ai_next) count += one->ai_family == AF_INET;
    CHECK(count == total);
    freeaddrinfo(list);
  }
  size_t small = 0;
  for (size_t size = 0;; size += 7, small++) {
    char *buffer = malloc(size + 1);
    struct hostent host, *got = &host;
    int why = MARK;
    errno = MARK;
    int result = gethostbyname2_r(name, AF_INET, &host, buffer, size, &got, &why);
    if (result == 0) {
      size_t count = 0;
      while (host.h_addr_list[count]) count++;
      CHECK(got == &host && count == total && host.h_name[0]);
      free(buffer);
      break;
    }
    CHECK(result == ERANGE && errno == ERANGE && why == NETDB_INTERNAL && !got);
    free(buffer);
  }
  CHECK(small > total / 2);
  struct hostent *host = gethostbyname(name);
  CHECK(host && host->h_addr_list[total - 1] && !host->h_addr_list[total]);
}

static void told(enum nss_status status, enum nss_status wanted, int apart, int error, int reason, int wanted_error, int wanted_reason) {
  CHECK(status == wanted && reason == wanted_reason);
  if (wanted == NSS_STATUS_SUCCESS) {
    CHECK(errno == MARK && error == MARK);
  } else {
    CHECK(error == wanted_error && errno == (apart ? MARK : wanted_error));
  }
}

/* Each function of the module, with the thread's errno as the place for the error or another place. */
static void by_module(const char *name, int family, size_t size, enum nss_status wanted, int error, int reason) {
  static char buffer[65536];
  for (int apart = 0; apart < 2; apart++) {
    int other, why, *place = apart ? &other : &errno;
    struct hostent host;
    struct tuple *list = NULL;
    enum nss_status status;
    errno = MARK, other = MARK, why = MARK;
    status = by2(name, family, &host, buffer, size, place, &why);
    told(status, wanted, apart, *place, why, error, reason);
    if (family != AF_INET) continue;
    errno = MARK, other = MARK, why = MARK;
    status = by1(name, &host, buffer, size, place, &why);
    told(status, wanted, apart, *place, why, error, reason);
    errno = MARK, other = MARK, why = MARK;
    status = by4(name, &list, buffer, size, place, &why, NULL);
    told(status, wanted, apart, *place, why, error, reason);
  }
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  CHECK(__nss_configure_lookup("hosts", "hither") == 0);
  by_library(argv[1], (size_t)atoi(argv[2]));
  void *module = dlopen("libnss_hither.so.2", RTLD_NOW);
  CHECK(module);
  *(void **)&by4 = dlsym(module, "_nss_hither_gethostbyname4_r");
  *(void **)&by2 = dlsym(module, "_nss_hither_gethostbyname2_r");
  *(void **)&by1 = dlsym(module, "_nss_hither_gethostbyname_r");
  CHECK(by4 && by2 && by1);
  by_module(argv[1], AF_INET, 65536, NSS_STATUS_SUCCESS, 0, NETDB_SUCCESS);
  by_module(argv[1], AF_INET, 0, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);
  by_module(argv[1], AF_INET, 64, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);
  by_module("none.example.", AF_INET, 65536, NSS_STATUS_NOTFOUND, ENOENT, HOST_NOT_FOUND);
  by_module("v4.example.", AF_INET6, 65536, NSS_STATUS_NOTFOUND, ENOENT, NO_DATA);
  by_module("a;id.example", AF_INET, 65536, NSS_STATUS_NOTFOUND, ENOENT, HOST_NOT_FOUND);
  by_module("broken.example.", AF_INET, 65536, NSS_STATUS_UNAVAIL, EAGAIN, TRY_AGAIN);
  by_module("localhost", AF_INET, 65536, NSS_STATUS_UNAVAIL, EAGAIN, TRY_AGAIN);
  by_module("www.example", AF_UNIX, 65536, NSS_STATUS_UNAVAIL, EAFNOSUPPORT, NETDB_INTERNAL);
  return 0;
}
