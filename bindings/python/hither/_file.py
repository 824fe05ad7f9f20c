"""One table: opened, checked, and read word by word, as hither-table(5) describes it.

Words of a mapped table are loaded by indexing a memoryview of format Q. CPython loads such an item by one
instruction on 64-bit machines, never in parts, and `tolist` loads items one by one in their order. (A copy as
octets would be a memcpy, which has no order.) On x86-64 loads are not reordered, so the version before and after a
copy shows whether it is whole. On other machines the reader also needs fences, see `_fence`, and it verifies the
checksum of each record, since no promise of CPython covers their loads.
"""

from __future__ import annotations

import errno
import mmap
import os
import platform
import stat
import struct
import threading
import time
from typing import Callable, Dict, List, Optional, Tuple

from ._names import SUM_START, Name, hash_of, sum_of

# Words of the header.
ABI, ENDIAN, FEATURES, FILE, CHECKSUM, MASK, INDEX, DATA, LINES = 1, 2, 3, 5, 7, 10, 11, 12, 13
STATE, FLUSHED, NETWORK, FAMILIES, STALE, CHANGES = 16, 17, 18, 19, 20, 32
ALIVE, DNS, CLOCK_OFFSET, HASH = 41, 44, 47, 48

_HEADER, _RECORD_MAX, _TRIES, _TRIES_UNMAPPED, _CLOCK_MAX_MS = 512, 2048, 64, 16, 2000
_HASHES_MAX = 4096
_MAGIC = struct.unpack("<Q", b"HITHER\x01\n")[0]
_IS_ORDERED = platform.machine() in ("x86_64", "AMD64")


class TableError(OSError):
    """There is no table that this process may use; `errno` says why where the system does."""


class Replaced(Exception):
    """Another file is the table now."""


class Busy(Exception):
    """The record changed during every try."""


class _Short(Exception):
    """The file was truncated."""


_lock = threading.Lock()


def _no_fence() -> None:
    pass


def _lock_fence() -> None:
    """Orders all loads before it and after it: the release of the first pair is ordered before the acquisition of
    the second one, loads before a release stay before it, and loads after an acquisition after it."""
    with _lock:
        pass
    with _lock:
        pass


_fence: Callable[[], None] = _no_fence if _IS_ORDERED else _lock_fence


def boot_ms() -> int:
    """CLOCK_BOOTTIME, the clock of the table."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def network_here() -> int:
    """The number of this thread's network namespace; 0 if it is not known."""
    try:
        link = os.readlink("/proc/thread-self/ns/net")
    except OSError:
        return 0
    digits = link[5:-1] if link.startswith("net:[") and link.endswith("]") else ""
    return int(digits) if digits.isdigit() else 0


def is_secure() -> bool:
    """Whether the process was started with more rights than its caller. What cannot be found out counts as such:
    the file belongs to root then."""
    try:
        with open("/proc/self/auxv", "rb") as file:
            vector = file.read()
    except OSError:
        return True
    pairs = struct.iter_unpack("=QQ", vector[: len(vector) // 16 * 16])
    return any(key == 23 and value for key, value in pairs)


def may_map(owner: int) -> bool:
    """Whether this process may map a file of an owner, who could end it by truncating the file."""
    return owner == 0 or (0 not in os.getresuid() and not is_secure())


class File:
    """An open table. It is closed when the last reference to it is gone."""

    def __init__(self, directory: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        self.descriptor = -1
        self.words: Optional[memoryview] = None
        folder = os.open(directory, flags | os.O_DIRECTORY)
        try:
            self.descriptor = os.open("hosts", flags, dir_fd=folder)
            around, own = os.fstat(folder), os.fstat(self.descriptor)
        finally:
            os.close(folder)
        if not _is_trusted(around, own):
            raise TableError(errno.EPERM, "others than root and the directory's owner could have written the table")
        size = own.st_size
        if size < _HEADER * 8 or size % 8 or own.st_blocks * 512 < size:
            raise TableError(errno.EINVAL, "the file is not a table")
        self.id = (own.st_dev, own.st_ino)
        self.count = size // 8
        self.hashes: Dict[bytes, int] = {}
        if may_map(own.st_uid):
            mapped = mmap.mmap(self.descriptor, size, prot=mmap.PROT_READ, flags=mmap.MAP_SHARED)
            self.words = memoryview(mapped).cast("B").cast("Q")
            os.close(self.descriptor)
            self.descriptor = -1
        try:
            self._read_header(size)
        except _Short:
            raise TableError(errno.EINVAL, "the file is not a table") from None

    def __del__(self) -> None:
        if getattr(self, "descriptor", -1) >= 0:
            os.close(self.descriptor)

    def load(self, at: int, count: int) -> List[int]:
        """Copies words, each whole. They have no order among each other if the table is not mapped."""
        if at < 0 or at + count > self.count:
            raise _Short
        if self.words is not None:
            return self.words[at : at + count].tolist()
        octets = os.pread(self.descriptor, count * 8, at * 8)
        if len(octets) != count * 8:
            raise _Short
        return list(struct.unpack("=%dQ" % count, octets))

    def word(self, at: int) -> int:
        if self.words is not None:
            return self.words[at]
        try:
            return self.load(at, 1)[0]
        except _Short:
            return 0

    def _read_header(self, size: int) -> None:
        self.load(0, 1)
        _fence()
        head = self.load(0, 64)
        check = SUM_START
        for at in (*range(CHECKSUM), *range(CHECKSUM + 1, 16), *range(HASH, HASH + 8)):
            check = sum_of(check, head[at])
        self.mask, self.index, self.data, self.lines = head[MASK], head[INDEX], head[DATA], head[LINES]
        self.secrets = tuple(head[HASH : HASH + 8])
        is_table = head[0] == _MAGIC and head[ENDIAN] == 0x0102030405060708 and head[ABI] >> 32 == 1
        fits = (
            head[FILE] == size
            and self.mask & (self.mask + 1) == 0
            and _HEADER <= self.index <= self.data <= self.count
            and self.mask < (self.data - self.index) // 8
            and self.lines <= (self.count - self.data) // 8
        )
        if not is_table or head[FEATURES] or check != head[CHECKSUM] or not fits:
            raise TableError(errno.EINVAL, "the file is not a table of this version")
        real_ms = time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000
        apart = (real_ms - boot_ms() - head[CLOCK_OFFSET] + (1 << 63)) % (1 << 64) - (1 << 63)
        if abs(apart) > _CLOCK_MAX_MS:
            raise TableError(errno.ESTALE, "the table is from another time namespace or from before the host's start")

    def find(self, name: Name) -> Optional[List[int]]:
        """The words of the record of a name, all of one version. Raises Replaced or Busy."""
        key = name.wire
        own = self.hashes.get(key)
        if own is None:
            own = hash_of(key, self.secrets)
            if len(self.hashes) >= _HASHES_MAX:
                self.hashes.clear()
            self.hashes[key] = own
        first, second = own & self.mask, own >> 24 & self.mask
        if first == second and self.mask:
            second ^= 1
        places = (self.index + 8 * first, self.index + 8 * second)
        try:
            for _ in range(_TRIES if self.words is not None else _TRIES_UNMAPPED):
                if self.word(STATE) == 2:
                    raise Replaced
                _fence()
                is_final, record = self._attempt(name, own >> 48, places)
                if is_final:
                    return record
        except _Short:
            return None
        raise Busy

    def _attempt(self, name: Name, tag: int, places: Tuple[int, int]) -> Tuple[bool, Optional[List[int]]]:
        for place in places:
            slots = self.load(place, 8)
            for n, word in enumerate(slots):
                if word >> 48 != tag or not word:
                    continue
                _fence()
                record = self.copy(word & 0xFFFFFFFF, word >> 32 & 0xFFFF)
                if record is None:
                    return False, None
                shape = record[1]
                at = 3 + 4 * ((shape >> 40 & 1) + (shape >> 41 & 1))
                if shape >> 16 & 0xFF == name.length and record[at : at + len(name.words)] == name.words:
                    return True, None if record[0] >> 1 < self.word(FLUSHED) else record
                if self.word(place + n) != word:
                    return False, None
        return True, None

    def copy(self, line: int, nonce: Optional[int]) -> Optional[List[int]]:
        """The record at a line; None if it is being written, or is none with that nonce."""
        if not 0 < line < self.lines:
            return None
        at = self.data + 8 * line
        mark = self.word(at)
        if mark & 1 or (nonce is not None and mark >> 1 & 0xFFFF != nonce):
            return None
        _fence()
        shape = self.word(at + 1)
        count = shape & 0xFFFF
        if not _fits(shape) or count > 8 * (self.lines - line):
            return None
        record = self.load(at + 1, count - 1)
        _fence()
        if self.word(at) != mark or record[0] != shape:
            return None
        record.insert(0, mark)
        return record if _IS_ORDERED or is_intact(record) else None


def _is_trusted(around: os.stat_result, own: os.stat_result) -> bool:
    is_ours = around.st_mode & 0o022 == 0 or around.st_mode & stat.S_ISVTX != 0
    is_file = stat.S_ISREG(own.st_mode) and own.st_mode & 0o022 == 0
    return is_ours and is_file and own.st_uid in (0, around.st_uid)


def _fits(shape: int) -> bool:
    """Whether the parts of a record fit into it."""
    v4, v6, families = shape >> 24 & 0xFF, shape >> 32 & 0xFF, shape >> 40 & 3
    key = shape >> 16 & 0xFF
    needed = 3 + 4 * ((families & 1) + (families >> 1)) + (key + 7) // 8 + v4 + (v4 + 1) // 2 + 3 * v6
    return bool(key and families) and needed <= shape & 0xFFFF <= _RECORD_MAX


def is_intact(record: List[int]) -> bool:
    """Whether the checksum of a record is right."""
    check = sum_of(SUM_START, record[1])
    for word in record[3:]:
        check = sum_of(check, word)
    return check == record[2]
