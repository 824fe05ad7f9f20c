"""The table of a runtime directory and its successors."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import Iterable, Iterator, List, Optional, Tuple

from . import _file
from ._ask import ask
from ._entry import BOTH, AAAA, A, Address, Entry, Set, Status
from ._file import Busy, File, Replaced, TableError
from ._names import Name, parse

RUNTIME_DIR = "/run/hither"
_LOOKS_MAX, _WINDOW_MS, _HINTS_MAX, _HANG_PAUSE_S = 16, 128, 64, 10.0
_THREAD_DIED = 1 << 30


class Answer:
    """The result of a lookup. `entry` is None unless the status is FRESH, STALE or INCOMPLETE."""

    __slots__ = ("status", "entry", "_families")

    def __init__(self, status: Status, entry: Optional[Entry], families: int) -> None:
        self.status, self.entry, self._families = status, entry, families

    @property
    def a(self) -> Optional[Set]:
        return self.entry.set(A) if self.entry else None

    @property
    def aaaa(self) -> Optional[Set]:
        return self.entry.set(AAAA) if self.entry else None

    @property
    def addresses(self) -> List[Address]:
        """The addresses of the wanted families, best first. An empty list of a fresh answer is a denial."""
        if self.entry is None:
            return []
        usable = 0
        for family in (A, AAAA):
            own = self.entry.set(family)
            if own and self._families & family and (self.status is Status.STALE or own.use == "fresh"):
                usable |= family
        return self.entry.ordered(usable)

    @property
    def is_denied(self) -> bool:
        """Whether the answer is fresh and there are no addresses of the wanted families."""
        return self.status is Status.FRESH and not self.addresses

    @property
    def ttl(self) -> int:
        """The seconds for which the answer may be kept: at most 30 if it is stale."""
        if self.entry is None:
            return 0
        sets = [own for own in (self.entry.set(f) for f in (A, AAAA) if self._families & f) if own]
        return 30 if self.status is Status.STALE else min((own.ttl for own in sets), default=0)


class _Network:
    """Remembers the network namespace. Threads may change theirs, which only the kernel knows: it is asked at most
    _LOOKS_MAX times in a window, and always once two were seen."""

    def __init__(self) -> None:
        self.last, self.window, self.looks, self.is_several = 0, -1, 0, False

    def of_thread(self, now_ms: int) -> int:
        window = now_ms // _WINDOW_MS
        if window != self.window:
            self.window, self.looks = window, 0
        if self.last and not self.is_several and self.looks >= _LOOKS_MAX:
            return self.last
        here = _file.network_here()
        self.is_several |= self.last not in (0, here)
        self.last, self.looks = here, self.looks + 1
        return here


class Table:
    """The daemon's table. Threads can share it; a child of fork may use its parent's."""

    def __init__(self, directory: Optional[str] = None, must_exist: bool = True) -> None:
        """The table in a runtime directory: that of HITHER_RUNTIME_DIR or /run/hither if none is given.

        Raises TableError if there is none that may be used. With `must_exist` false it is opened as soon as there
        is one."""
        chosen = directory or (os.environ.get("HITHER_RUNTIME_DIR") if not _file.is_secure() else None)
        self.directory = chosen or RUNTIME_DIR
        self._current: Optional[File] = None
        self._network = _Network()
        self._checked = -1
        self._silent_until = 0.0
        self._hinted: "dict[int, bool]" = {}
        if must_exist:
            self._current = self._open()
            stated = self._current.word(_file.NETWORK)
            if stated and stated != _file.network_here():
                raise TableError("this thread is in another network namespace than the answers of the table")

    def _open(self) -> File:
        try:
            return File(self.directory)
        except TableError:
            raise
        except OSError as error:
            raise TableError(error.errno, error.strerror, error.filename) from None

    def lookup(self, name: str, families: int = BOTH) -> Answer:
        """The answer of the table about a name. The daemon is not asked, but gets a hint if the entry is about to
        expire. Text that is not a domain name is MISSING."""
        try:
            parsed = parse(name)
        except ValueError:
            return Answer(Status.MISSING, None, families)
        now = _file.boot_ms()
        answer = self._lookup(parsed, families, now)
        if answer.status is Status.FRESH:
            self._hint(parsed, families, answer.entry, now)
        elif answer.status is not Status.BUSY and self._has_successor(now) and self._reopen():
            answer = self._lookup(parsed, families, now)
        return answer

    def _lookup(self, name: Name, families: int, now: int) -> Answer:
        for _ in range(2):
            file = self._current
            if file is None:
                return Answer(Status.NO_TABLE, None, families)
            try:
                record = file.find(name)
            except Replaced:
                if self._reopen():
                    continue
                return Answer(Status.BUSY, None, families)
            except Busy:
                return Answer(Status.BUSY, None, families)
            stated = file.word(_file.NETWORK)
            if stated and stated != self._network.of_thread(now):
                return Answer(Status.OTHER_NETWORK, None, families)
            if record is None:
                return Answer(Status.MISSING, None, families)
            entry = Entry(record, now, file.word(_file.STALE), file.word(_file.FAMILIES))
            return Answer(entry.status(families), entry, families)
        return Answer(Status.BUSY, None, families)

    def resolve(self, name: str, families: int = BOTH, stale: bool = True) -> Optional[Answer]:
        """The answer of the table if it is fresh, else that which the daemon publishes when it is asked, else a
        stale one, unless `stale` is false; None if there is none, so that the system's resolver has to be asked.
        Waits 1.5 seconds at most."""
        answer = self.lookup(name, families)
        if answer.status is Status.FRESH:
            return answer
        if answer.status in (Status.NO_TABLE, Status.OTHER_NETWORK):
            return None
        try:
            has_asked = self._ask(parse(name), families)
        except ValueError:
            return None
        answer = self.lookup(name, families)
        if answer.status is Status.FRESH or (answer.status is Status.STALE and (stale or has_asked)):
            return answer
        entry = answer.entry
        if has_asked and entry and entry.words[1] >> 40 & families == families:
            # What has expired already is what the daemon answered with: stale data, or a TTL of 0.
            return Answer(Status.STALE, entry, families)
        return None

    def _ask(self, name: Name, families: int) -> bool:
        file, server = self._current, self.daemon_address
        if file is None or server is None or file.word(_file.ALIVE) & _THREAD_DIED:
            return False
        if time.monotonic() < self._silent_until:
            return False
        result = ask(server, name, families)
        if result is None:
            self._silent_until = time.monotonic() + _HANG_PAUSE_S
        return bool(result)

    @property
    def daemon_address(self) -> Optional[Tuple[str, int]]:
        """The address and port at which the daemon answers DNS queries."""
        if self._current is None:
            return None
        first, *rest = (self._current.word(_file.DNS + n) for n in range(3))
        octets = struct.pack("<QQ", *rest)
        if first >> 16 == 4:
            return socket.inet_ntop(socket.AF_INET, octets[:4]), first & 0xFFFF
        if first >> 16 == 6:
            return socket.inet_ntop(socket.AF_INET6, octets), first & 0xFFFF
        return None

    def _has_successor(self, now: int) -> bool:
        """Whether the directory has another file than the open one, or that one may be mapped by now; at most once
        a second."""
        if now // 1000 == self._checked:
            return False
        self._checked = now // 1000
        file = self._current
        try:
            found = os.lstat(self.directory + "/hosts")
        except OSError:
            return False
        is_other = file is None or (found.st_dev, found.st_ino) != file.id
        return is_other or (file is not None and file.words is None and _file.may_map(1))

    def _reopen(self) -> bool:
        try:
            self._current = self._open()
        except TableError:
            return False
        return True

    def _hint(self, name: Name, families: int, entry: Optional[Entry], now: int) -> None:
        ending = 0
        for family in (A, AAAA):
            own = entry.set(family) if entry and families & family else None
            if own and 0 < own.expires_ms - now < own.lifetime_s * 200:
                ending |= family
        if not ending or entry is None or entry.version in self._hinted:
            return
        if len(self._hinted) >= _HINTS_MAX:
            self._hinted.clear()
        self._hinted[entry.version] = True
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as hints:
            try:
                hints.sendto(bytes([1, ending]) + name.wire, self.directory + "/hint")
            except OSError:
                pass

    @property
    def changes(self) -> int:
        """The number of changes of the table so far."""
        return self._current.word(_file.CHANGES) if self._current else 0

    def wait(self, seen: int, timeout: Optional[float] = None) -> int:
        """Waits until the table has seen more changes than `seen`, and gives their number; after the timeout in
        seconds the same number. Another number, even a lower one, means that the table has changed or was replaced:
        look up the names that matter."""
        from ._futex import wait_for_change

        end = None if timeout is None else time.monotonic() + timeout
        while True:
            file = self._current
            if file is None or file.word(_file.STATE) == 2 or self._has_successor(_file.boot_ms()):
                if self._reopen():
                    return self.changes
            changes = file.word(_file.CHANGES) if file else seen
            left = 1.0 if end is None else end - time.monotonic()
            if changes != seen or left <= 0:
                return changes
            wait_for_change(file, seen, min(left, 1.0))

    def watch(self, names: Iterable[str], families: int = BOTH) -> Iterator[Tuple[str, Answer]]:
        """Gives each of the names with its answer, at first and whenever its entry has changed."""
        all_names, last = list(names), {}
        while True:
            seen = self.changes
            for name in all_names:
                answer = self.lookup(name, families)
                version = answer.entry.version if answer.entry else None
                if answer.status is not Status.BUSY and last.get(name, -1) != version:
                    last[name] = version
                    yield name, answer
            self.wait(seen)
