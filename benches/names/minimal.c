/* The minimal NSS module: copies a fixed record into glibc's structures, with one address if the name begins with "o", else 16. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <nss.h>
#include <string.h>

static const unsigned char record[16][4] = {{198, 18, 0, 1}, {198, 18, 0, 2}, {198, 18, 0, 3}, {198, 18, 0, 4}};

enum nss_status _nss_minimal_gethostbyname2_r(const char *name, int family, struct hostent *host, char *buffer, size_t size, int *error, int *why) {
  size_t count = name[0] == 'o' ? 1 : 16, length = strlen(name) + 1;
  char **list = (char **)(((unsigned long)buffer + 7) & ~7ul);
  char *place = (char *)(list + count + 2);
  if ((size_t)(place - buffer) + count * 4 + length > size) {
    *error = ERANGE, *why = NETDB_INTERNAL;
    return NSS_STATUS_TRYAGAIN;
  }
  for (size_t n = 0; n < count; n++) list[n] = memcpy(place + 4 * n, record[n], 4);
  list[count] = list[count + 1] = NULL;
  *host = (struct hostent){memcpy(place + 4 * count, name, length), list + count + 1, family, 4, list};
  return family == AF_INET ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND;
}
