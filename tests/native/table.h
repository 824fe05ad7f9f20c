/* Opens the table and reads its entries, written from hither-table(5) alone; nothing of hither is used. */
#ifndef TABLE_H
#define TABLE_H
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAGIC, ABI, ENDIAN, FEATURES, FILE_OCTETS = 5, CHECKSUM = 7, MASK = 10, INDEX, DATA, LINES, RING, SLOTS };
enum { STATE = 16, FLUSHED, NETWORK, STALE = 20, CHANGES = 32, CLOCK_OFFSET = 47, HASH = 48 };
enum { WORDS_MAX = 2048, TRIES = 64 };

#define VERSION (((uint64_t)1 << 53) - 1)

typedef struct {
  const _Atomic uint64_t *words; /* NULL: read by pread */
  int file;
  uint64_t count, head[64];
  struct stat stat;
} table;

typedef struct {
  uint64_t words[WORDS_MAX];
} record;

static void acquire(void) { atomic_thread_fence(memory_order_acquire); }

/* Copies words; 0 if the file does not have them. */
static int load(const table *t, uint64_t at, uint64_t many, uint64_t *out) {
  if (at > t->count || many > t->count - at) return 0;
  if (!t->words) return pread(t->file, out, many * 8, (off_t)(at * 8)) == (ssize_t)(many * 8);
  for (uint64_t n = 0; n < many; n++) out[n] = atomic_load_explicit(&t->words[at + n], memory_order_relaxed);
  return 1;
}

static uint64_t word(const table *t, uint64_t at) {
  uint64_t value = 0;
  return load(t, at, 1, &value) ? value : 0;
}

static uint64_t sum(uint64_t before, uint64_t value) {
  unsigned __int128 product = (unsigned __int128)(before ^ value) * 0xd6e8feb86659fd93;
  return (uint64_t)product ^ (uint64_t)(product >> 64) ^ 0x2545f4914f6cdd1d;
}

static uint64_t clock_ms(clockid_t which) {
  struct timespec time;
  clock_gettime(which, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static uint64_t network(void) {
  char link[32] = {0};
  unsigned long long number = 0;
  ssize_t len = readlink("/proc/thread-self/ns/net", link, sizeof link - 1);
  return len > 0 && sscanf(link, "net:[%llu]", &number) == 1 ? number : 0;
}

/* Opens the table, if it may be trusted and used here. */
static int open_table(table *t, const char *directory) {
  struct stat around;
  uid_t real, effective, saved;
  const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  int folder = open(directory, flags | O_DIRECTORY);
  if (folder < 0) return 0;
  memset(t, 0, sizeof *t);
  t->file = openat(folder, "hosts", flags);
  int is_read = t->file >= 0 && !fstat(folder, &around) && !fstat(t->file, &t->stat);
  close(folder);
  const struct stat *s = &t->stat;
  if (!is_read || (around.st_mode & 022 && !(around.st_mode & S_ISVTX)) || s->st_mode & 022 || !S_ISREG(s->st_mode)) return 0;
  if ((s->st_uid && s->st_uid != around.st_uid) || s->st_size < 4096 || s->st_size % 8 || s->st_blocks * 512 < s->st_size) return 0;
  t->count = (uint64_t)s->st_size / 8;
  getresuid(&real, &effective, &saved);
  int is_root = !real || !effective || !saved || getauxval(AT_SECURE);
  if (!is_root || !s->st_uid) {
    void *at = mmap(NULL, (size_t)s->st_size, PROT_READ, MAP_SHARED, t->file, 0);
    if (at == MAP_FAILED) return 0;
    t->words = at;
  }
  if (!load(t, 0, 1, t->head)) return 0;
  acquire();
  if (!load(t, 0, 64, t->head)) return 0;
  const uint64_t *head = t->head;
  uint64_t check = 0x9e3779b97f4a7c15;
  for (int n = 0; n < 16; n++)
    if (n != CHECKSUM) check = sum(check, head[n]);
  for (int n = 0; n < 8; n++) check = sum(check, head[HASH + n]);
  if (memcmp(head, "HITHER\1\n", 8) || head[ABI] >> 32 != 1 || head[ENDIAN] != 0x0102030405060708 || head[FEATURES]) return 0;
  if (check != head[CHECKSUM] || head[FILE_OCTETS] != (uint64_t)s->st_size || head[SLOTS] != 4096) return 0;
  int64_t apart = (int64_t)(clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_BOOTTIME) - head[CLOCK_OFFSET]);
  return apart >= -2000 && apart <= 2000 && (!head[NETWORK] || head[NETWORK] == network());
}

static void close_table(table *t) {
  if (t->words) munmap((void *)t->words, t->count * 8);
  if (t->file >= 0) close(t->file);
}

static void mum(uint64_t *a, uint64_t *b) {
  unsigned __int128 product = (unsigned __int128)*a * *b;
  *a ^= (uint64_t)product, *b ^= (uint64_t)(product >> 64);
}

static uint64_t mix(uint64_t a, uint64_t b) {
  mum(&a, &b);
  return a ^ b;
}

static uint64_t octets8(const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, 8);
  return value;
}

static uint64_t octets4(const uint8_t *at) {
  uint32_t value;
  memcpy(&value, at, 4);
  return value;
}

static uint64_t hash_of(const table *t, const uint8_t *key, size_t n) {
  uint64_t seed = t->head[HASH], a = 0, b = 0, left = n;
  const uint64_t *s = &t->head[HASH + 1];
  static const int which[] = {2, 2, 1, 1};
  if (n <= 16) {
    if (n >= 8) seed ^= n, a = octets8(key), b = octets8(key + n - 8);
    else if (n >= 4) seed ^= n, a = octets4(key), b = octets4(key + n - 4);
    else a = (uint64_t)key[0] << 45 | key[n - 1], b = key[n / 2];
  } else {
    const uint8_t *at = key;
    uint64_t lanes[5] = {seed, seed, seed, seed, seed};
    if (left > 80) {
      for (; left > 80; left -= 80, at += 80)
        for (int i = 0; i < 5; i++) lanes[i] = mix(octets8(at + 16 * i) ^ s[i], octets8(at + 16 * i + 8) ^ lanes[i]);
      seed = lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4];
    }
    for (uint64_t i = 0; i < 4; i++)
      if (left > 16 + 16 * i) seed = mix(octets8(at + 16 * i) ^ s[which[i]], octets8(at + 16 * i + 8) ^ seed);
    a = octets8(key + n - 16) ^ left, b = octets8(key + n - 8);
  }
  a ^= s[1], b ^= seed;
  mum(&a, &b);
  return mix(a ^ 0xaaaaaaaaaaaaaaaa, b ^ s[1] ^ left);
}

/* Positions in a record, from its word 1. */
typedef struct {
  uint64_t words, key_octets, n4, n6, families, key, v4, origins, v6, tail;
} shape;

static int shape_of(uint64_t value, shape *out) {
  shape s = {.words = value & 0xffff, .key_octets = value >> 16 & 0xff, .n4 = value >> 24 & 0xff, .n6 = value >> 32 & 0xff, .families = value >> 40};
  s.key = 3 + 4 * ((s.families & 1) + (s.families >> 1 & 1));
  s.v4 = s.key + (s.key_octets + 7) / 8;
  s.origins = s.v4 + s.n4;
  s.v6 = s.origins + (s.n4 + 1) / 2;
  s.tail = s.v6 + 3 * s.n6;
  *out = s;
  return s.words <= WORDS_MAX && s.tail <= s.words && s.key_octets && s.families >= 1 && s.families <= 3;
}

/* Copies the record at a line, all of one version; 0 if it is being written or is another one. */
static int copy(const table *t, uint64_t line, const uint64_t *nonce, record *out) {
  shape s;
  if (!line || line >= t->head[LINES]) return 0;
  uint64_t at = t->head[DATA] + 8 * line, *words = out->words;
  words[0] = word(t, at);
  if (words[0] & 1 || (nonce && (words[0] >> 1 & 0xffff) != *nonce)) return 0;
  acquire();
  words[1] = word(t, at + 1);
  if (!shape_of(words[1], &s) || !load(t, at + 2, s.words - 2, words + 2)) return 0;
  acquire();
  return word(t, at) == words[0];
}

static int is_intact(const record *r) {
  shape s;
  uint64_t check = 0x9e3779b97f4a7c15;
  shape_of(r->words[1], &s);
  for (uint64_t n = 1; n < s.words; n++)
    if (n != 2) check = sum(check, r->words[n]);
  return check == r->words[2];
}

static int is_replaced(const table *t) {
  uint64_t state = 0;
  int is_there = load(t, STATE, 1, &state);
  acquire();
  return !is_there || state == 2;
}

enum found { FOUND, MISSING, AGAIN, REPLACED };

static enum found attempt(const table *t, const uint8_t *key, size_t len, record *out) {
  uint64_t hash = hash_of(t, key, len), mask = t->head[MASK], buckets[2] = {hash & mask, hash >> 24 & mask};
  if (buckets[0] == buckets[1] && mask) buckets[1] ^= 1;
  for (int n = 0; n < 16; n++) {
    uint64_t at = t->head[INDEX] + 8 * buckets[n / 8] + (uint64_t)n % 8, index = word(t, at), nonce = index >> 32 & 0xffff;
    if (!index || index >> 48 != hash >> 48) continue;
    acquire();
    if (!copy(t, index & 0xffffffff, &nonce, out)) return AGAIN;
    shape s;
    shape_of(out->words[1], &s);
    if (s.key_octets == len && !memcmp(&out->words[s.key], key, len)) return out->words[0] >> 1 < word(t, FLUSHED) ? MISSING : FOUND;
    if (word(t, at) != index) return AGAIN;
  }
  return MISSING;
}

static enum found lookup(const table *t, const uint8_t *key, size_t len, record *out) {
  for (int n = 0; n < TRIES; n++) {
    if (is_replaced(t)) return REPLACED;
    enum found found = attempt(t, key, len, out);
    if (found != AGAIN) return found;
  }
  return AGAIN;
}

/* Whether the directory has another file. */
static int has_other(const table *t, const char *directory) {
  char path[4096];
  struct stat now;
  snprintf(path, sizeof path, "%s/hosts", directory);
  return !lstat(path, &now) && (now.st_dev != t->stat.st_dev || now.st_ino != t->stat.st_ino);
}

static int reopen(table *t, const char *directory) {
  table next;
  if (!open_table(&next, directory)) return close_table(&next), 0;
  close_table(t);
  *t = next;
  return 1;
}

/* Calls `use` for every entry. */
static void each(const table *t, void (*use)(const table *, const record *)) {
  static record r;
  for (uint64_t at = t->head[INDEX]; at < t->head[DATA]; at++)
    for (int n = 0; n < TRIES; n++) {
      uint64_t index = word(t, at), nonce = index >> 32 & 0xffff;
      acquire();
      if (!index) break;
      if (copy(t, index & 0xffffffff, &nonce, &r)) {
        if (r.words[0] >> 1 >= word(t, FLUSHED)) use(t, &r);
        break;
      }
    }
}

#endif
