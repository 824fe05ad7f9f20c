"""A reader of the table written from hither-table(5) alone: reader.py FILE NAME prints the addresses, best first."""
import ipaddress, os, struct, sys

M = (1 << 64) - 1
words = struct.unpack(f"<{len(data := open(sys.argv[1], 'rb').read()) // 8}Q", data)
MASK, INDEX, DATA, LINES = words[10:14]
SEED, SECRETS = words[48], words[49:56]


def mum(a, b):
    r = a * b
    return a ^ r & M, b ^ r >> 64


def mix(a, b):
    a, b = mum(a, b)
    return a ^ b


def rapidhash(key):
    u64 = lambda at: int.from_bytes(key[at:at + 8], "little")
    u32 = lambda at: int.from_bytes(key[at:at + 4], "little")
    seed, n, a, b, left = SEED, len(key), 0, 0, len(key)
    if n <= 16:
        if n >= 8:
            seed, a, b = seed ^ n, u64(0), u64(n - 8)
        elif n >= 4:
            seed, a, b = seed ^ n, u32(0), u32(n - 4)
        elif n:
            a, b = key[0] << 45 | key[-1], key[n >> 1]
    else:
        at = 0
        if n > 80:
            lanes = [seed] * 5
            while n - at > 80:
                lanes = [mix(u64(at + 16 * i) ^ SECRETS[i], u64(at + 16 * i + 8) ^ lanes[i]) for i in range(5)]
                at += 80
            seed = lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4]
        left = n - at
        for i, secret in enumerate((2, 2, 1, 1)):
            if left > 16 + 16 * i:
                seed = mix(u64(at + 16 * i) ^ SECRETS[secret], u64(at + 16 * i + 8) ^ seed)
        a, b = u64(n - 16) ^ left, u64(n - 8)
    a, b = mum(a ^ SECRETS[1], b ^ seed)
    return mix(a ^ 0xaaaaaaaaaaaaaaaa, b ^ SECRETS[1] ^ left)


def lookup(key):
    h = rapidhash(key)
    buckets = [h & MASK, h >> 24 & MASK]
    if buckets[0] == buckets[1] and MASK:
        buckets[1] ^= 1
    for bucket in buckets:
        for word in words[INDEX + 8 * bucket:INDEX + 8 * bucket + 8]:
            if word and word >> 48 == h >> 48:
                at = DATA + 8 * (word & 0xffffffff)
                mark, shape = words[at], words[at + 1]
                record = words[at:at + (shape & 0xffff)]
                assert mark & 1 == 0 and mark >> 1 & 0xffff == word >> 32 & 0xffff
                families = shape >> 40
                begin = 3 + 4 * bin(families).count("1")
                length = shape >> 16 & 0xff
                own = struct.pack(f"<{(length + 7) // 8}Q", *record[begin:begin + (length + 7) // 8])[:length]
                if own == key and mark >> 1 >= words[17]:
                    return record, begin + (length + 7) // 8, shape >> 24 & 0xff, shape >> 32 & 0xff


assert words[0].to_bytes(8, "little") == b"HITHER\x01\n" and words[1] >> 32 == 1 and words[16] in (1, 3)
if words[18] and f"net:[{words[18]}]" != os.readlink("/proc/thread-self/ns/net"):
    sys.exit(4)
key = b"".join(bytes([len(label)]) + label for label in sys.argv[2].lower().rstrip(".").encode().split(b".")) + b"\0"
found = lookup(key)
if found is None:
    sys.exit(1)
record, at, v4, v6 = found
for word in record[at:at + v4]:
    print(ipaddress.IPv4Address((word & 0xffffffff).to_bytes(4, "little")))
at += v4 + (v4 + 1) // 2
for n in range(v6):
    print(ipaddress.IPv6Address(struct.pack("<2Q", *record[at + 3 * n:at + 3 * n + 2])))
