"""Reads the table through libhither. reading.py COUNT looks up c0.load.test, c1.load.test and so on until standard input ends, then prints as JSON
the number of reads, the errors, and how often a version was lower than an earlier one."""
import ctypes, json, select, sys, time

COUNT = int(sys.argv[1])


class Set(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("version", "set_version", "round", "expire_ms")] + \
        [("addresses", ctypes.c_void_p), ("canonical", ctypes.c_char_p), ("ttl_s", ctypes.c_uint32), ("count", ctypes.c_uint32)] + \
        [(n, ctypes.c_uint8) for n in ("known", "state", "negative", "sorted")] + [("reserved", ctypes.c_uint32)]


class Entry(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint64), ("a", Set), ("aaaa", Set)]


hither, table, entry = ctypes.CDLL("libhither.so.1"), (ctypes.c_uint64 * 256)(), Entry()
buffer = ctypes.create_string_buffer(4096)
reads, errors, lower, seen = 0, {}, 0, {}
while not select.select([sys.stdin], [], [], 0)[0]:
    for at in range(COUNT):
        name = b"c%d.load.test" % at
        result = hither.hither_lookup(table, name, 1, ctypes.byref(entry), buffer, ctypes.c_size_t(len(buffer)), None)
        reads += 1
        if result != 0:
            errors[result] = errors.get(result, 0) + 1
        elif entry.version < seen.get(at, 0):
            lower += 1
        else:
            seen[at] = entry.version
    time.sleep(0.002)  # Some 50 000 reads a second, which leaves processor time to the other processes.
print(json.dumps({"reads": reads, "errors": errors, "lower": lower}))
