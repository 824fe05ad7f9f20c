/* A reader and follower of the table, written from hither-table(5) alone; it uses nothing of hither.
 *
 * Usage: table_reader DIRECTORY names    prints the entries of the names on standard input, a name a line
 *        table_reader DIRECTORY all      prints all entries
 *        table_reader DIRECTORY follow   follows all changes until standard input ends, then prints the last version of each family
 *
 * An entry is a line of JSON for each family, as `hitherctl --json dump` prints it. The follower ends with a line that counts how often it
 * had to read the whole table again, and how often a line was not a record any more. Exit status: 1 without a table that may be used. */
#define _GNU_SOURCE
#include "table.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* A name as text within JSON. */
static void print_name(const uint8_t *wire) {
  if (!*wire) putchar('.');
  for (; *wire; wire += *wire + 1) {
    for (int n = 1; n <= *wire; n++) {
      int octet = wire[n];
      if (octet == '"' || octet == '\\') printf("\\\\\\%c", octet);
      else if (octet && strchr(".();@$", octet)) printf("\\\\%c", octet);
      else if (octet > 0x20 && octet < 0x7f) putchar(octet);
      else printf("\\\\%03d", octet);
    }
    putchar('.');
  }
}

typedef struct {
  const uint8_t *at, *end;
} octets;

static const uint8_t *take(octets *from, size_t many) {
  static const uint8_t none[256];
  if ((size_t)(from->end - from->at) < many) return from->at = from->end, none;
  return (from->at += many) - many;
}

/* The last target of a chain, or NULL. */
static const uint8_t *last_target(octets tail, unsigned chain) {
  const uint8_t *target = NULL;
  unsigned chains = *take(&tail, 1);
  for (unsigned n = 0; n <= chain && n < chains; n++)
    for (unsigned links = *take(&tail, 1); links; links--) {
      take(&tail, 6);
      const uint8_t *name = take(&tail, *take(&tail, 1));
      if (n == chain) target = name;
    }
  return target;
}

static uint64_t block_of(const record *r, const shape *s, int family, int which) {
  return r->words[3 + (family && s->families & 1 ? 4 : 0) + which];
}

/* The octets since ABI 1.3 about a family; zeros where the record ends before. */
static uint8_t judgement(const record *r, const shape *s, int family, uint64_t at) {
  uint64_t tails = 0;
  for (int n = 0; n < 2; n++)
    if (s->families >> n & 1) tails += block_of(r, s, n, 3) & 0xffff;
  const uint8_t *first = (const uint8_t *)&r->words[s->tail + (tails + 7) / 8], *end = (const uint8_t *)&r->words[s->words];
  if (family && s->families & 1) at += (judgement(r, s, 0, 1) ? 5 : 2) + s->n4;
  return first + at < end ? first[at] : 0;
}

static void print_agreement(const record *r, const shape *s, int family) {
  static const char *words[] = {"certificates", "private", "denied"};
  uint8_t disputes = judgement(r, s, family, 1);
  uint32_t others = 0;
  const char *comma = "";
  for (int n = 0; n < 3 && disputes; n++) others |= (uint32_t)judgement(r, s, family, 2 + (uint64_t)n) << 8 * n;
  printf(",\"answered\":%u,\"disputed\":%s,\"disputes\":[", judgement(r, s, family, 0), disputes ? "true" : "false");
  for (int n = 0; n < 3; n++)
    if (disputes >> n & 1) printf("%s\"%s\"", comma, words[n]), comma = ",";
  printf("],\"dissenters\":[");
  comma = "";
  for (unsigned n = 0; n < 24; n++)
    if (others >> n & 1) printf("%s%u", comma, n + 1), comma = ",";
  printf("]");
}

static void print_addresses(const record *r, const shape *s, int family) {
  static const char *verdicts[] = {"unknown", "verified", "other_name", "expired", "not_yet", "untrusted", "no_tls", "unknown"};
  uint64_t many = family ? s->n6 : s->n4, head = judgement(r, s, family, 1) ? 5 : 2;
  for (uint64_t n = 0; n < many; n++) {
    char text[64];
    const uint64_t *own = family ? &r->words[s->v6 + 3 * n] : &r->words[s->v4 + n];
    uint32_t rtt = family ? (uint32_t)own[2] : (uint32_t)(own[0] >> 32);
    printf("%s{\"address\":\"%s\",", n ? "," : "", inet_ntop(family ? AF_INET6 : AF_INET, own, text, sizeof text));
    if (rtt < 0xfffffffe) printf("\"rtt_us\":%u,\"reachable\":true,", rtt);
    else printf("\"rtt_us\":null,\"reachable\":%s,", rtt == 0xffffffff ? "false" : "null");
    uint8_t verdict = judgement(r, s, family, head + n);
    printf("\"trust\":\"%s\",\"sources\":%u}", verdicts[verdict & 7], verdict >> 3);
  }
}

/* What a reader may do with a family: 0 fresh, 1 stale, 2 unknown. */
static int use_of(const table *t, const record *r, const shape *s, int family, uint64_t now) {
  uint64_t expiry = block_of(r, s, family, 3) >> 16, bound = word(t, STALE);
  if (now < expiry) return 0;
  int has_addresses = family ? s->n6 > 0 : s->n4 > 0;
  return !bound || (has_addresses && now < expiry + bound - 1) ? 1 : 2;
}

static void print_family(const table *t, const record *r, int family) {
  static const char *states[] = {"first", "partial", "complete", "complete"}, *denials[] = {"null", "\"nodata\"", "\"nxdomain\"", "null"};
  shape s;
  shape_of(r->words[1], &s);
  if (!(s.families >> family & 1)) return;
  uint64_t now = clock_ms(CLOCK_BOOTTIME), first = block_of(r, &s, family, 0), last = block_of(r, &s, family, 3), expiry = last >> 16;
  int use = use_of(t, r, &s, family, now);
  if (use == 2) return;
  uint64_t before = family && s.families & 1 ? block_of(r, &s, 0, 3) & 0xffff : 0;
  const uint8_t *key = (const uint8_t *)&r->words[s.key], *end = (const uint8_t *)&r->words[s.words];
  octets tail = {(const uint8_t *)&r->words[s.tail] + before, (const uint8_t *)&r->words[s.tail] + before + (last & 0xffff)};
  if (tail.end > end) tail.at = tail.end = end;
  uint64_t origin = family ? (s.n6 ? r->words[s.v6 + 2] >> 32 : 0) : (s.n4 ? r->words[s.origins] : 0);
  const uint8_t *target = last_target(tail, origin & 0xff);
  printf("{\"name\":\"");
  print_name(key);
  printf("\",\"type\":\"%s\",\"version\":%" PRIu64 ",\"set_version\":%" PRIu64 ",\"round\":%" PRIu64, family ? "AAAA" : "A", first & VERSION,
         block_of(r, &s, family, 1) & VERSION, block_of(r, &s, family, 2));
  printf(",\"state\":\"%s\",\"sorted\":%s,\"stale\":%s,\"negative\":%s", states[first >> 53 & 3], first >> 57 & 1 ? "true" : "false",
         use ? "true" : "false", denials[first >> 55 & 3]);
  printf(",\"ttl\":%" PRIu64 ",\"canonical\":\"", use ? 0 : (expiry - now) / 1000);
  print_name(target ? target : key);
  putchar('"');
  print_agreement(r, &s, family);
  printf(",\"addresses\":[");
  print_addresses(r, &s, family);
  puts("]}");
}

static void print_entry(const table *t, const record *r) {
  print_family(t, r, 0);
  print_family(t, r, 1);
}

/* The versions that the follower knows, by key. */
typedef struct {
  uint8_t key[256];
  size_t len;
  uint64_t versions[2];
} known;

static known *all;
static size_t known_size = 1 << 16;

static known *place(const uint8_t *key, size_t len) {
  size_t at = 14695981039346656037u;
  for (size_t n = 0; n < len; n++) at = (at ^ key[n]) * 1099511628211u;
  for (at %= known_size; all[at].len && (all[at].len != len || memcmp(all[at].key, key, len)); at = (at + 1) % known_size) {}
  return &all[at];
}

static void note(const table *t, const record *r) {
  shape s;
  (void)t;
  shape_of(r->words[1], &s);
  known *own = place((const uint8_t *)&r->words[s.key], s.key_octets);
  memcpy(own->key, &r->words[s.key], own->len = s.key_octets);
  for (int family = 0; family < 2; family++) {
    if (!(s.families >> family & 1)) continue;
    uint64_t version = block_of(r, &s, family, 0) & VERSION;
    if (version > own->versions[family]) own->versions[family] = version;
  }
}

/* Reads the changes that there are; returns how often the whole table had to be read. */
static unsigned step(const table *t, uint64_t *next, unsigned *others) {
  static record r;
  unsigned rescans = 0;
  int look_again = 0;
  for (;;) {
    uint64_t changes = word(t, CHANGES);
    acquire();
    if (changes == *next) break;
    uint64_t slot = word(t, t->head[RING] + (*next & 4095));
    acquire();
    if (changes - *next >= 4096 || slot >> 32 != (*next & 0xffffffff)) {
      *next = changes;
      look_again = 1;
      continue;
    }
    ++*next;
    uint64_t line = slot & 0xffffffff;
    int is_record = line && copy(t, line, NULL, &r) && is_intact(&r);
    if (is_record && r.words[0] >> 1 >= word(t, FLUSHED)) note(t, &r);
    else look_again = 1, *others += line != 0;
  }
  if (look_again) each(t, note), rescans++;
  return rescans;
}

static int follow(table *t, const char *directory) {
  all = calloc(known_size, sizeof *all);
  unsigned rescans = 0, others = 0;
  for (int is_last = 0;;) {
    uint64_t next = word(t, CHANGES);
    acquire();
    each(t, note);
    puts("follows");
    fflush(stdout);
    while (!is_replaced(t)) {
      rescans += step(t, &next, &others);
      if (is_last) goto end;
      /* Without a mapping the header could be mapped for the kernel alone; a short pause does as well here. */
      struct timespec bound = {.tv_sec = 1};
      struct pollfd input = {.fd = 0, .events = POLLIN};
      if (t->words) syscall(SYS_futex, &t->words[CHANGES], FUTEX_WAIT, (uint32_t)next, &bound, NULL, 0);
      is_last = poll(&input, 1, t->words ? 0 : 20) > 0;
      if (word(t, CHANGES) == next && has_other(t, directory)) break;
    }
    if (!reopen(t, directory)) usleep(20000);
  }
end:
  for (size_t n = 0; n < known_size; n++)
    for (int family = 0; family < 2 && all[n].len; family++) {
      if (!all[n].versions[family]) continue;
      printf("{\"name\":\"");
      print_name(all[n].key);
      printf("\",\"type\":\"%s\",\"version\":%" PRIu64 "}\n", family ? "AAAA" : "A", all[n].versions[family]);
    }
  printf("{\"rescans\":%u,\"others\":%u}\n", rescans, others);
  return 0;
}

/* The key of a name as text, without escapes. */
static size_t key_of(const char *text, uint8_t *key) {
  size_t len = 0, label = 0;
  key[len++] = 0;
  for (; *text && len < 254; text++) {
    if (*text != '.') key[len++] = (uint8_t)tolower((unsigned char)*text), key[label]++;
    else if (key[label]) label = len, key[len++] = 0;
  }
  if (key[label]) key[len++] = 0;
  return len;
}

static int names(table *t, const char *directory) {
  static record r;
  char line[1024];
  uint64_t checked = 0;
  while (fgets(line, sizeof line, stdin)) {
    uint8_t key[256];
    line[strcspn(line, "\n")] = 0;
    size_t len = key_of(line, key);
    enum found found = lookup(t, key, len, &r);
    uint64_t second = clock_ms(CLOCK_BOOTTIME) / 1000;
    int is_old = found == MISSING && second != checked && (checked = second, has_other(t, directory));
    if ((found == REPLACED || is_old) && reopen(t, directory)) found = lookup(t, key, len, &r);
    if (found == FOUND) print_entry(t, &r);
  }
  return 0;
}

int main(int argc, char **argv) {
  table t;
  if (argc != 3) return 2;
  if (!open_table(&t, argv[1])) return 1;
  if (!strcmp(argv[2], "names")) return names(&t, argv[1]);
  if (!strcmp(argv[2], "follow")) return follow(&t, argv[1]);
  each(&t, print_entry);
  return 0;
}
