/* libhither: hither's answers for C programs, read from shared memory without a system call. See libhither(3).
 *
 * What a program can rely on:
 * - One publish: an entry is a copy of what the daemon published together, never a mix of two versions.
 * - Versions grow: a later lookup of the same name never returns a lower version.
 * - Nothing here allocates, keeps a file descriptor open, takes a lock, or waits; only hither_wait waits, for the daemon.
 * - All functions may be called from any thread and after fork. Threads may share a table, but not during hither_open and hither_close.
 * - A result is stored in the caller's buffer and does not change.
 * - hither_open, hither_lookup and hither_wait do not change errno.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef HITHER_H
#define HITHER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the interface in this file; hither_abi() returns that of the library. */
#define HITHER_ABI 1

/* Results. Only the first three fill the entry. */
enum {
  HITHER_FRESH = 0,        /* every family that was asked for: addresses, or a denial */
  HITHER_STALE = 1,        /* every family that was asked for, but some of it has expired */
  HITHER_PARTIAL = 2,      /* a family that was asked for is not in the table */
  HITHER_MISSING = 3,      /* the name is not in the table: ask the daemon by a DNS query */
  HITHER_BUSY = 4,         /* the daemon changed the entry during every try: ask the daemon, or look again */
  HITHER_NO_TABLE = 5,     /* there is no table, or this process may not read it */
  HITHER_NOT_TRUSTED = 6,  /* a user other than root and the owner of the directory could have written the table */
  HITHER_NOT_A_TABLE = 7,  /* it is not a table of this version, or it is damaged */
  HITHER_OTHER_CLOCK = 8,  /* this process is in another time namespace, where expiry times mean nothing */
  HITHER_BAD_NAME = 9,     /* not a domain name: a label is empty or has over 63 octets, or the name has over 255 octets */
  HITHER_RANGE = 10,       /* the buffer is too small; *needed is a size that is enough */
  HITHER_BAD_ARGUMENT = 11,  /* a null pointer, or no family */
  HITHER_OTHER_NETWORK = 12 /* this thread is in another network namespace, where other answers hold: ask the resolver there */
};

/* The families of a lookup. */
enum { HITHER_A = 1, HITHER_AAAA = 2, HITHER_BOTH = 3 };
/* hither_set.state: at least one upstream has answered; the deadline came first; every upstream has answered or failed. */
enum { HITHER_FIRST = 0, HITHER_SOME = 1, HITHER_COMPLETE = 2 };
/* hither_set.negative: no denial; the name has no addresses of this family; the name does not exist. */
enum { HITHER_EXISTS = 0, HITHER_NODATA = 1, HITHER_NXDOMAIN = 2 };

/* hither_address.rtt_us of an address that was not measured, and of one that did not answer. */
#define HITHER_RTT_UNMEASURED 0xfffffffeu
#define HITHER_RTT_UNREACHABLE 0xffffffffu

/* The table of a runtime directory. The caller provides it, and hither_open or zeros fill it. */
typedef struct hither {
  uint64_t opaque[256];
} hither;

typedef struct hither_address {
  uint32_t family;    /* AF_INET or AF_INET6 */
  uint32_t rtt_us;    /* round-trip time in microseconds, or one of the two values above */
  uint32_t upstreams; /* a bit for each of the first 22 configured upstreams that gave it, and one for all others */
  uint8_t octets[16]; /* 4 or 16 of them, in network order */
} hither_address;

/* One family of a name. */
typedef struct hither_set {
  uint64_t version;                /* grows with every publish */
  uint64_t set_version;            /* the version at which the addresses last changed */
  uint64_t round;                  /* the number of the round that gathered them */
  uint64_t expire_ms;              /* when it expires, in milliseconds of CLOCK_BOOTTIME */
  const hither_address *addresses; /* best first; NULL if there are none */
  const char *canonical;           /* the canonical name without a final dot; NULL if it is not a host name */
  uint32_t ttl_s;                  /* the TTL that is left, in seconds */
  uint32_t count;                  /* the number of addresses */
  uint8_t known;                   /* 0: the table does not have this family, and all other fields are 0 */
  uint8_t state;
  uint8_t negative;
  uint8_t sorted; /* 1: the addresses are in the order of measured latency */
  uint32_t reserved;
} hither_set;

/* Both families of a name. */
typedef struct hither_entry {
  uint64_t version; /* the higher version of the two */
  hither_set a, aaaa;
} hither_entry;

/* The version of the library's interface, to be compared with HITHER_ABI. */
uint32_t hither_abi(void);

/* Initialises `table` for the runtime directory `dir` and opens the table there. NULL: the directory in the environment variable
 * HITHER_RUNTIME_DIR, unless the program runs with more rights than its caller, else /run/hither. If the table cannot be opened yet, each
 * lookup tries again. */
int hither_open(hither *table, const char *dir);

/* Unmaps the table. No other thread may use it, now or later. */
void hither_close(hither *table);

/* Looks up `name` in any letter case, with or without a final dot; \DDD and \X are escapes. If `needed` is not NULL, *needed becomes a
 * size of `buffer` that is enough for the entry. 1024 octets are enough for 32 addresses. */
int hither_lookup(hither *table, const char *name, int families, hither_entry *entry, void *buffer, size_t size, size_t *needed);

/* Waits until the table has seen more than *changes changes, at most timeout_ms; *changes becomes the number that it has seen. With
 * timeout_ms 0 it only reads that number. */
int hither_wait(hither *table, uint64_t *changes, uint32_t timeout_ms);

/* The meaning of a result, in a few English words. */
const char *hither_strerror(int result);

#ifdef __cplusplus
}
#endif
#endif
