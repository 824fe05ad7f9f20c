/* libhither: hither's answers for C programs, read from shared memory without a system call. See libhither(3).
 *
 * Nothing here allocates, keeps a file descriptor, or waits for another thread (hither_wait alone waits, for the daemon). Everything may
 * be called from any thread and after fork. What a lookup returns stands in the caller's buffer and stays as it is.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef HITHER_H
#define HITHER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What hither_abi() says of the library that this file describes. */
#define HITHER_ABI 1

/* Results. The first three come with an entry. */
enum {
  HITHER_FRESH = 0,        /* all that was asked for: addresses, or a denial */
  HITHER_STALE = 1,        /* what was asked for, but the time of some of it is over */
  HITHER_PARTIAL = 2,      /* a family that was asked for is not known */
  HITHER_MISSING = 3,      /* the name is not in the table: ask the daemon */
  HITHER_BUSY = 4,         /* the daemon changed it under every try: ask the daemon, or try again */
  HITHER_NO_TABLE = 5,     /* no daemon has run here, or its table may not be read */
  HITHER_NOT_TRUSTED = 6,  /* somebody other than root and the owner of its directory could have written the table */
  HITHER_NOT_A_TABLE = 7,  /* no table of this version */
  HITHER_OTHER_CLOCK = 8,  /* this process lives in another time namespace and cannot tell when entries expire */
  HITHER_BAD_NAME = 9,     /* no domain name: an empty label, one of over 63 octets, over 255 octets in all */
  HITHER_RANGE = 10,       /* the buffer is too small; *needed says what is enough */
  HITHER_BAD_ARGUMENT = 11,
  HITHER_OTHER_NETWORK = 12 /* this thread is in another network namespace, where other answers hold: ask that one's resolver */
};

/* Families to look for. */
enum { HITHER_A = 1, HITHER_AAAA = 2, HITHER_BOTH = 3 };
/* hither_set.state: how far the daemon has come with asking its upstreams. */
enum { HITHER_FIRST = 0, HITHER_SOME = 1, HITHER_COMPLETE = 2 };
/* hither_set.negative */
enum { HITHER_EXISTS = 0, HITHER_NODATA = 1, HITHER_NXDOMAIN = 2 };

#define HITHER_RTT_UNMEASURED 0xfffffffeu
#define HITHER_RTT_UNREACHABLE 0xffffffffu

/* A table. Belongs to the caller, is filled by hither_open; all zeros will do instead of that. */
typedef struct hither {
  uint64_t opaque[256];
} hither;

typedef struct hither_address {
  uint32_t family;    /* AF_INET or AF_INET6 */
  uint32_t rtt_us;    /* round-trip time in microseconds, or one of the two values above */
  uint32_t upstreams; /* a bit for each of the first 22 configured upstreams that gave it, and one for all others */
  uint8_t octets[16]; /* 4 of them, or 16, in network order */
} hither_address;

/* One family of a name. */
typedef struct hither_set {
  uint64_t version;                /* grows with every publish */
  uint64_t set_version;            /* the version at which the addresses last changed */
  uint64_t round;                  /* the round of questions that gathered them */
  uint64_t expire_ms;              /* milliseconds of CLOCK_BOOTTIME */
  const hither_address *addresses; /* best first */
  const char *canonical;           /* the last name of the CNAMEs, without final dot; NULL if that is no host's name */
  uint32_t ttl_s;                  /* seconds left */
  uint32_t count;                  /* of addresses */
  uint8_t known;                   /* 0: nothing here is known of this family */
  uint8_t state;
  uint8_t negative;
  uint8_t sorted; /* 1: in the order of measured latency */
  uint32_t reserved;
} hither_set;

/* Both families of a name, of one publish: never a mix of two. */
typedef struct hither_entry {
  uint64_t version; /* the newer of the two */
  hither_set a, aaaa;
} hither_entry;

uint32_t hither_abi(void);

/* Prepares `table` for the runtime directory `dir` and opens what is there. NULL: the environment's HITHER_RUNTIME_DIR, unless the
 * program runs with more rights than who started it, else /run/hither. A table that is not there yet is looked for again by each lookup. */
int hither_open(hither *table, const char *dir);

/* Unmaps it. No other thread may be using it. */
void hither_close(hither *table);

/* Looks `name` up; letter case does not matter, a final dot may be missing, \DDD and \X are escapes. *needed, if not NULL, becomes the
 * size of buffer that is enough for this entry. 1024 octets are enough for 32 addresses. */
int hither_lookup(hither *table, const char *name, int families, hither_entry *entry, void *buffer, size_t size, size_t *needed);

/* Waits until the daemon has published more than *changes times, at most timeout_ms; *changes becomes how often it has. */
int hither_wait(hither *table, uint64_t *changes, uint32_t timeout_ms);

/* What a result means, in a few English words. */
const char *hither_strerror(int result);

#ifdef __cplusplus
}
#endif
#endif
