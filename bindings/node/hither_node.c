/* The addon for Node: one lookup in the table by libhither, which takes about a microsecond. See index.js.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#define NAPI_VERSION 6
#include <arpa/inet.h>
#include <hither.h>
#include <node_api.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESSES_MAX = 510, NAME_MAX_TEXT = 1024 };

/* Of zeros: the table of the environment. All threads of a process share it. */
static hither table;

static size_t address_of(const hither_address *one, struct sockaddr_storage *to) {
  memset(to, 0, sizeof *to);
  to->ss_family = (sa_family_t)one->family;
  if (one->family == AF_INET) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    v4->sin_port = htons(9), memcpy(&v4->sin_addr, one->octets, 4);
    return sizeof *v4;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;
  v6->sin6_port = htons(9), memcpy(&v6->sin6_addr, one->octets, 16);
  return sizeof *v6;
}

/* Whether this host has a way to an address, so that a family without one comes last. No packet is sent. */
static int has_route(const hither_address *one) {
  struct sockaddr_storage to;
  size_t len = address_of(one, &to);
  int trial = socket((int)one->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int reached = trial >= 0 && connect(trial, (struct sockaddr *)&to, (socklen_t)len) == 0;
  if (trial >= 0) close(trial);
  return reached;
}

static void push(napi_env env, napi_value list, const hither_address *one) {
  char text[INET6_ADDRSTRLEN];
  napi_value object, address, family;
  uint32_t count;
  inet_ntop((int)one->family, one->octets, text, sizeof text);
  napi_create_object(env, &object);
  napi_create_string_latin1(env, text, NAPI_AUTO_LENGTH, &address);
  napi_create_uint32(env, one->family == AF_INET ? 4 : 6, &family);
  napi_set_named_property(env, object, "address", address);
  napi_set_named_property(env, object, "family", family);
  napi_get_array_length(env, list, &count);
  napi_set_element(env, list, count, object);
}

/* The addresses of the wanted families, in the order of the daemon's configuration. */
static napi_value list_of(napi_env env, const hither_entry *entry, int families) {
  static const int none = 2;
  const hither_address *all[ADDRESSES_MAX];
  size_t count = hither_order(entry, all, ADDRESSES_MAX);
  int routes[2] = {none, none};
  napi_value list;
  if (count > ADDRESSES_MAX) count = ADDRESSES_MAX;
  napi_create_array(env, &list);
  for (int wants_routed = 1; wants_routed >= 0; wants_routed--)
    for (size_t n = 0; n < count; n++) {
      int is_six = all[n]->family == AF_INET6;
      if (!(families >> is_six & 1)) continue;
      if (families != HITHER_BOTH) routes[is_six] = 1;
      else if (routes[is_six] == none) routes[is_six] = has_route(all[n]);
      if (routes[is_six] == wants_routed) push(env, list, all[n]);
    }
  return list;
}

/* lookup(name, families): the addresses as a list of {address, family}; undefined if the table has no fresh answer. */
static napi_value lookup(napi_env env, napi_callback_info info) {
  char name[NAME_MAX_TEXT];
  uint64_t small[1024];
  size_t argc = 2, length = 0, needed = 0;
  int32_t families = 0;
  hither_entry entry;
  napi_value argv[2], result;
  napi_get_undefined(env, &result);
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok || argc < 2) return result;
  if (napi_get_value_string_latin1(env, argv[0], name, sizeof name, &length) != napi_ok) return result;
  if (length + 1 >= sizeof name || strlen(name) != length || napi_get_value_int32(env, argv[1], &families) != napi_ok) return result;
  void *buffer = small;
  int found = hither_lookup(&table, name, families, &entry, small, sizeof small, &needed);
  if (found == HITHER_RANGE && (buffer = malloc(needed)) != NULL)
    found = hither_lookup(&table, name, families, &entry, buffer, needed, NULL);
  if (found == HITHER_FRESH) result = list_of(env, &entry, families);
  if (buffer != small) free(buffer);
  return result;
}

static napi_value init(napi_env env, napi_value exports) {
  napi_value function;
  if (hither_abi() != HITHER_ABI) {
    napi_throw_error(env, NULL, "libhither has another interface than this addon was built for");
    return NULL;
  }
  napi_create_function(env, "lookup", NAPI_AUTO_LENGTH, lookup, NULL, &function);
  napi_set_named_property(env, exports, "lookup", function);
  return exports;
}

NAPI_MODULE(hither, init)
