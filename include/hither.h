/* libhither: hither's answers for C programs, read from shared memory without a system call, connections to the address that answers
 * first, and reports of changes. See libhither(3).
 *
 * Guarantees:
 * - An entry is a copy of one publish of the daemon, never a mix of two.
 * - A later lookup of the same name never returns a lower version.
 * - No function allocates, takes a lock, or keeps a file descriptor open except those that hither_connect and hither_subscribe return.
 *   Only hither_wait, hither_connect and hither_subscribe wait.
 * - All functions may be called from any thread and after fork. Threads may use one table at the same time, except while one of
 *   them is in hither_open or hither_close with it.
 * - A result is stored in memory of the caller, and the library does not change it later.
 * - hither_open, hither_lookup, hither_wait and hither_next_change do not change errno; hither_connect sets it with
 *   HITHER_NOT_CONNECTED alone, hither_subscribe with HITHER_NOT_SUBSCRIBED alone.
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

/* Results of functions. hither_lookup fills the entry only with one of the first three. */
enum {
  HITHER_FRESH = 0,        /* every requested family is known: addresses, or a denial; for other functions, success */
  HITHER_STALE = 1,        /* every requested family is known, but at least one has expired: for use if the daemon gives no answer */
  HITHER_PARTIAL = 2,      /* a requested family is not in the table, or expired too long ago */
  HITHER_MISSING = 3,      /* the name is not in the table: ask the daemon by a DNS query */
  HITHER_BUSY = 4,         /* the daemon changed the entry during every try, or its record is too large: ask the daemon, or try again */
  HITHER_NO_TABLE = 5,     /* there is no table, or this process may not read it */
  HITHER_NOT_TRUSTED = 6,  /* a user other than root and the owner of the directory could have written the table */
  HITHER_NOT_A_TABLE = 7,  /* the file is not a table of this version, or is damaged */
  HITHER_OTHER_CLOCK = 8,  /* this process is in another time namespace, where expiry times mean nothing */
  HITHER_BAD_NAME = 9,     /* not a domain name: a label is empty or has over 63 octets, or the name has over 255 octets */
  HITHER_RANGE = 10,       /* the buffer is too small; *needed is a size that is enough */
  HITHER_BAD_ARGUMENT = 11,  /* a pointer is null, families is not one of the three, dir is empty or has over 95 octets, count is 0, or
                               descriptor is not a socket */
  HITHER_OTHER_NETWORK = 12, /* this thread is in another network namespace, where other answers hold, or cannot determine its
                               namespace: ask the resolver there */
  HITHER_NO_ADDRESS = 13,    /* hither_connect: the name does not exist, or has no addresses that a host can have */
  HITHER_NOT_CONNECTED = 14, /* hither_connect: no address could be connected to, or not in time; errno says why */
  HITHER_NOT_SUBSCRIBED = 15, /* hither_subscribe: no daemon answers at its socket of changes, or not in time; errno says why */
  HITHER_REFUSED = 16,   /* hither_subscribe: the daemon does not take so many names or subscribers of this user, or of all */
  HITHER_NO_CHANGE = 17, /* hither_next_change: nothing to read now; poll the descriptor */
  HITHER_GAP = 18,       /* hither_next_change: changes were merged, since they were not read for long; the latest state of each name that
                           has changed meanwhile follows */
  HITHER_ENDED = 19      /* hither_next_change: the daemon has ended or ends the subscription: close the descriptor, and subscribe again */
};

/* The families of a lookup: IPv4, IPv6, both. */
enum { HITHER_A = 1, HITHER_AAAA = 2, HITHER_BOTH = 3 };

/* Values of hither_set.state. */
enum {
  HITHER_FIRST = 0,   /* at least one upstream has answered, and others may still answer */
  HITHER_SOME = 1,    /* the deadline came before all upstreams had answered */
  HITHER_COMPLETE = 2 /* every upstream has answered or failed */
};

/* Values of hither_set.negative. */
enum {
  HITHER_EXISTS = 0,  /* no denial */
  HITHER_NODATA = 1,  /* the name has no addresses of this family */
  HITHER_NXDOMAIN = 2 /* the name does not exist */
};

/* Verdicts of hither_trust on the certificate that the server at an address shows for the name. */
enum {
  HITHER_TRUST_UNKNOWN = 0,    /* it was not judged */
  HITHER_TRUST_VERIFIED = 1,   /* an authority vouches for it, and it is for the name */
  HITHER_TRUST_OTHER_NAME = 2, /* an authority vouches for it, and it is for other names */
  HITHER_TRUST_EXPIRED = 3,    /* it is for the name, and its last day is over */
  HITHER_TRUST_NOT_YET = 4,    /* it is for the name, and its first day has not come */
  HITHER_TRUST_UNTRUSTED = 5,  /* no authority vouches for it */
  HITHER_TRUST_NO_TLS = 6      /* the server refuses connections, or does not speak TLS */
};

/* Bits of hither_disputes. */
enum {
  HITHER_DISPUTED_CERTIFICATES = 1, /* the upstreams fall into groups without a common address; servers of one group show certificates
                                       for other names, and those of another group do not */
  HITHER_DISPUTED_PRIVATE = 2,      /* an upstream gave private addresses for the public name */
  HITHER_DISPUTED_DENIED = 4        /* an upstream denied the name or the type, while others gave addresses */
};

/* Values of hither_change.cause. */
enum {
  HITHER_NEW_SET = 1,   /* the name has other addresses, or has addresses again */
  HITHER_WITHDRAWN = 2, /* upstreams deny that there are addresses, or hither withholds them */
  HITHER_GONE = 3,      /* the table has no answer any more that may be used, and none could be had */
  HITHER_ORDER = 4,     /* the same addresses are in another order */
  HITHER_LOCAL = 5,     /* hither answers the name itself, as from a hosts file, and has a new answer, which is not in the table */
  HITHER_OTHER = 6      /* a cause that a newer daemon knows; look the name up */
};

/* Values of hither_address.rtt_us: the address was not measured; the address did not answer. */
#define HITHER_RTT_UNMEASURED 0xfffffffeu
#define HITHER_RTT_UNREACHABLE 0xffffffffu

/* The table of a runtime directory, in memory of the caller. It must be filled by hither_open or with zeros, which stand for an open
 * with NULL. It must not be copied. */
typedef struct hither {
  uint64_t opaque[256];
} hither;

/* One address of a set. */
typedef struct hither_address {
  uint32_t family;    /* AF_INET or AF_INET6 */
  uint32_t rtt_us;    /* round-trip time in microseconds, or one of the two values above */
  uint32_t upstreams; /* a bit for each of the first 22 configured upstreams that gave it, from bit 0 on, and bit 22 for all others */
  uint8_t octets[16]; /* the address in network order: 4 octets and 12 zeros, or 16 octets */
} hither_address;

/* One family of a name. Its pointers lead into the buffer of the lookup. */
typedef struct hither_set {
  uint64_t version;                /* grows with every publish */
  uint64_t set_version;            /* the version at which the addresses last changed */
  uint64_t round;                  /* the number of the round that gathered them */
  uint64_t expire_ms;              /* the time at which it expires, in milliseconds of CLOCK_BOOTTIME */
  const hither_address *addresses; /* best first; NULL if there are none */
  const char *canonical;           /* the canonical name without a final dot; NULL if it is not a host name */
  uint32_t ttl_s;                  /* the TTL that is left, in seconds, rounded down */
  uint32_t count;                  /* the number of addresses */
  uint8_t known;                   /* 1, or 0 if the table does not have this family: then all other fields are 0 */
  uint8_t state;                   /* HITHER_FIRST, HITHER_SOME or HITHER_COMPLETE */
  uint8_t negative;                /* HITHER_EXISTS, HITHER_NODATA or HITHER_NXDOMAIN */
  uint8_t sorted;                  /* 1 if the addresses are in the order of measured latency, else 0 */
  uint32_t judgements;             /* for hither_trust and its like, which alone read it */
} hither_set;

/* Both families of a name. */
typedef struct hither_entry {
  uint64_t version; /* the higher version of the two families */
  hither_set a, aaaa;
} hither_entry;

/* A change of one family of a name. */
typedef struct hither_change {
  uint64_t version;     /* the version of the set, or of its denial; with HITHER_GONE the last one that the table had; with HITHER_LOCAL 0 */
  uint64_t set_version; /* the version at which the addresses last changed; 0 if there are none */
  uint32_t family;      /* HITHER_A or HITHER_AAAA */
  uint32_t cause;       /* HITHER_NEW_SET to HITHER_OTHER */
  uint32_t coalesced;   /* 1 if versions were passed over that have no record of their own, else 0 */
  uint32_t reserved[3]; /* zeros */
  char name[1008];      /* in lower case, without a final dot; \DDD and \X are escapes */
} hither_change;

/* Returns the version of the library's interface. The program works only if it equals HITHER_ABI. */
uint32_t hither_abi(void);

/* Initialises `table` for the runtime directory `dir`, of 1 to 95 octets, and opens the table there. NULL stands for the directory in
 * the environment variable HITHER_RUNTIME_DIR, unless that is not set or the program runs with raised privileges (setuid); then for
 * /run/hither.
 *
 * Returns HITHER_FRESH, or HITHER_BAD_ARGUMENT and leaves `table` as it was, or the reason why there is no table now: then each lookup
 * tries again. No other thread may use `table` during the call. A table that is in use must be closed before. */
int hither_open(hither *table, const char *dir);

/* Unmaps the table. NULL is ignored. No other thread may use `table` during the call, and none at all after it without a new
 * hither_open. May change errno. */
void hither_close(hither *table);

/* Looks up `name` in any letter case, with or without a final dot; \DDD and \X are escapes. `families` is HITHER_A, HITHER_AAAA or
 * HITHER_BOTH. The entry is stored in `*entry`, and its addresses and names in the `size` octets of `buffer`, which may have any
 * alignment. The entry may have a family that was not requested.
 *
 * If the name is in the table and `needed` is not NULL, *needed becomes a size in octets that is enough for the entry, also with
 * HITHER_RANGE; the next lookup may need more. 1024 octets are enough for 32 addresses and canonical names of 50 octets.
 *
 * Any number of threads may look up in one table at the same time, each with an entry and a buffer of its own. */
int hither_lookup(hither *table, const char *name, int families, hither_entry *entry, void *buffer, size_t size, size_t *needed);

/* Returns the verdict on address number `index` of a set that hither_lookup filled, counted from 0; HITHER_TRUST_UNKNOWN if there is
 * no such address, and if the buffer of the lookup was smaller than *needed. The set's addresses must still be in the buffer. */
int hither_trust(const hither_set *set, uint32_t index);

/* Returns how many upstreams gave address number `index`, at most 23: those after the first 22 count as one. Otherwise as hither_trust,
 * with 0 for what is unknown. */
int hither_sources(const hither_set *set, uint32_t index);

/* Returns how many upstreams had answered when the set was published, at most 255; 0 if that is unknown. */
int hither_answered(const hither_set *set);

/* Returns why upstreams disagree about the set, as bits; 0 if they do not. */
int hither_disputes(const hither_set *set);

/* Stores pointers to the addresses of an entry in `order`, at most `count` of them, in one order over both families, best first. That is
 * the order of sort.families in hither.toml(5). By default confirmed addresses come first, then those that one later upstream alone
 * gave; within each, measured ones by round-trip time, unmeasured, unreachable; at equal times IPv6 first. If an address of either
 * family is verified, those with a certificate of another name or an untrusted one come last.
 *
 * Returns the number of all addresses of the entry, of families that were not requested too. The order is that of the lookup. If the
 * buffer of the lookup was smaller than *needed, IPv4 addresses come first. The addresses must still be in the buffer. */
size_t hither_order(const hither_entry *entry, const hither_address **order, size_t count);

/* Waits until the table has seen more than *changes changes, at most `timeout_ms` milliseconds, and stores their number in *changes.
 * May return earlier with the number unchanged, for instance after a signal. With a timeout of 0 it only reads the number. Another
 * number, even a lower one, means that the table has changed or was replaced.
 *
 * Returns HITHER_FRESH, also after the timeout, or the reason why there is no table. Any number of threads may wait at the same
 * time. */
int hither_wait(hither *table, uint64_t *changes, uint32_t timeout_ms);

/* Connects over TCP to `name`, in any letter case, at `port`, from 1 to 65535 in the byte order of this host, and stores the descriptor in
 * *descriptor, -1 if there is no connection. The whole call takes at most `timeout_ms` milliseconds.
 *
 * The addresses are those of the table; if it lacks a family of the name, or one has expired, the daemon is asked first, for at most 2.5
 * seconds, and only until one family has addresses and 50 milliseconds more. Stale addresses are used only if the daemon itself answers
 * with them. Up to 16 addresses are tried as in RFC 8305: in the order over both families (hither_order), by default the nearest one first,
 * but the families in turn. Addresses that did not answer when they were measured come last; before them, if an address of either family
 * is verified, those with a certificate of another name or an untrusted one. Those that no host has, such as 0.0.0.0, are left out. The
 * next one is tried as soon as one has failed, or after twice the round-trip time of the one before it, at least 10 and at most 250
 * milliseconds, 250 if it is unknown. The first connection wins, and all others are closed.
 *
 * Calls on the socket wait (no O_NONBLOCK), and execve closes it (FD_CLOEXEC). The caller closes it.
 *
 * Returns HITHER_FRESH; HITHER_NO_ADDRESS; HITHER_NOT_CONNECTED and errno, which is ETIMEDOUT if the time was over, else the error of the best
 * address that this host has a way to; HITHER_BAD_NAME or HITHER_BAD_ARGUMENT; or HITHER_MISSING or the reason why there is no table, if
 * neither the table nor the daemon has an answer: then use getaddrinfo. That is also the result for an address in place of a name, and for
 * localhost, local and all names below them, which hither does not resolve. The search list of resolv.conf is not used. */
int hither_connect(hither *table, const char *name, uint16_t port, uint32_t timeout_ms, int *descriptor);

/* Subscribes to the `count` names of `names`, each as for hither_lookup, and stores a descriptor in *descriptor, -1 if there is none. The
 * whole call takes at most `timeout_ms` milliseconds.
 *
 * The descriptor is a socket for poll(2), select(2) and epoll(7): it becomes readable when hither_next_change has something to report. It is
 * not to be read or written by other functions. Calls on it do not wait (O_NONBLOCK), and execve closes it (FD_CLOEXEC). The caller closes
 * it, which ends the subscription. After a fork parent and child have the same one, and each change is reported to one of them.
 *
 * While it is open, the daemon resolves the names before they expire, although no program asks for them. Changes of the addresses that it
 * publishes after the return of this function are reported, those of the order too. So look the names up after the subscription, not before
 * it. Memory and rate are bounded for each user and in all, see [feed] in hither.toml(5). The daemon never waits for a reader.
 *
 * Returns HITHER_FRESH; HITHER_REFUSED; HITHER_NOT_SUBSCRIBED and errno, such as ENOENT or ECONNREFUSED if the daemon does not run, EACCES, or
 * ETIMEDOUT; HITHER_BAD_NAME or HITHER_BAD_ARGUMENT; or the reason why there is no table. */
int hither_subscribe(hither *table, const char *const *names, size_t count, int families, uint32_t timeout_ms, int *descriptor);

/* Reads one change from the descriptor of a subscription into *change, and never waits. Several threads may do so; each change goes to one.
 *
 * Returns HITHER_FRESH; HITHER_NO_CHANGE; HITHER_GAP; HITHER_ENDED, again and again; or HITHER_BAD_ARGUMENT. *change is filled only with
 * HITHER_FRESH. A change is in the table before it is reported, so hither_lookup gives the set of that version or a later one. */
int hither_next_change(int descriptor, hither_change *change);

/* Returns the meaning of a result in a few English words. The string is constant and must not be freed; no result is invalid. */
const char *hither_strerror(int result);

#ifdef __cplusplus
}
#endif
#endif
