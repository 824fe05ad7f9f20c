"""What a table has for one name: sets, addresses, and the order over both families."""

from __future__ import annotations

import enum
import socket
import struct
from typing import List, NamedTuple, Optional

from ._file import is_intact
from ._names import text_of

A, AAAA, BOTH = 1, 2, 3
TRUST = ("unknown", "verified", "other_name", "expired", "not_yet", "untrusted", "no_tls", "unknown")
_STATES = ("first", "partial", "complete", "complete")
_DENIALS = (None, "nodata", "nxdomain", None)
_DISPUTES = ("certificates", "private", "denied")
_BAD = ("other_name", "untrusted")
_VERSION = (1 << 53) - 1
_UNREACHABLE, _UNMEASURED = 0xFFFFFFFF, 0xFFFFFFFE


class Status(enum.Enum):
    """How far the table answers a lookup."""

    FRESH = "fresh"  # every family that is wanted is known: addresses, or a denial
    STALE = "stale"  # as fresh, but some of it has expired: for use if the daemon gives no answer
    INCOMPLETE = "incomplete"  # a family that is wanted is not known, or has expired too long ago
    MISSING = "missing"  # the table does not have the name
    BUSY = "busy"  # the entry changed during every try
    NO_TABLE = "no table"  # there is no table that may be used
    OTHER_NETWORK = "other network"  # other answers hold in this thread's network namespace


class Address(NamedTuple):
    """One address of a set."""

    address: str
    rtt_us: Optional[int]  # None: not measured, or it did not answer
    reachable: Optional[bool]  # None: not measured
    upstreams: int  # a bit for each of the first 22 upstreams that gave it, and bit 22 for all others
    sources: int  # how many upstreams gave it
    trust: str  # the verdict on the certificate that the server there shows for the name
    confirmed: bool  # by the first answer, a second upstream, or a verified certificate
    chain: int

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.address


class Set:
    """One family of an entry."""

    __slots__ = ("_entry", "family", "_block", "_count", "_addresses")

    def __init__(self, entry: Entry, family: int) -> None:
        self._entry, self.family = entry, family
        shape = entry.words[1]
        self._block = 3 + (4 if family == AAAA and shape >> 40 & 1 else 0)
        self._count = shape >> (24 if family == A else 32) & 0xFF
        self._addresses: Optional[List[Address]] = None

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return True

    @property
    def version(self) -> int:
        return self._entry.words[self._block] & _VERSION

    @property
    def set_version(self) -> int:
        return self._entry.words[self._block + 1] & _VERSION

    @property
    def round(self) -> int:
        return self._entry.words[self._block + 2]

    @property
    def state(self) -> str:
        return _STATES[self._entry.words[self._block] >> 53 & 3]

    @property
    def denial(self) -> Optional[str]:
        """None, "nodata" or "nxdomain"."""
        return _DENIALS[self._entry.words[self._block] >> 55 & 3]

    @property
    def is_sorted(self) -> bool:
        return bool(self._entry.words[self._block] >> 57 & 1)

    @property
    def is_withheld(self) -> bool:
        """With "nodata": the name has addresses that the daemon does not give out."""
        return bool(self._entry.words[self._block] >> 58 & 1)

    @property
    def expires_ms(self) -> int:
        return self._entry.words[self._block + 3] >> 16

    @property
    def ttl(self) -> int:
        """What was left of the TTL at the lookup, in whole seconds."""
        return max(0, self.expires_ms - self._entry.now_ms) // 1000

    @property
    def lifetime_s(self) -> int:
        """The TTL when the set was published."""
        value = self._entry.words[self._block + 1] >> 53
        return value if value < 64 else (64 + (value & 63)) << (value >> 6) - 1

    @property
    def is_expired(self) -> bool:
        return self._entry.now_ms >= self.expires_ms

    @property
    def use(self) -> str:
        """At the time of the lookup: "fresh", "stale" or "unknown", as hither-table(5) has it under USE."""
        now, stale = self._entry.now_ms, self._entry.stale
        if now < self.expires_ms:
            return "fresh"
        if not stale or (self.denial is None and now < self.expires_ms + stale - 1):
            return "stale"
        return "unknown"

    @property
    def addresses(self) -> List[Address]:
        """The addresses, best first."""
        if self._addresses is None:
            self._addresses = [self._address(n) for n in range(self._count)]
        return self._addresses

    def _address(self, n: int) -> Address:
        entry = self._entry
        words, shape = entry.words, entry.words[1]
        v4 = 3 + 4 * ((shape >> 40 & 1) + (shape >> 41 & 1)) + ((shape >> 16 & 0xFF) + 7) // 8
        n4 = shape >> 24 & 0xFF
        if self.family == A:
            word = words[v4 + n]
            text = socket.inet_ntop(socket.AF_INET, struct.pack("<I", word & 0xFFFFFFFF))
            rtt, origin = word >> 32, words[v4 + n4 + n // 2] >> (n & 1) * 32 & 0xFFFFFFFF
        else:
            at = v4 + n4 + (n4 + 1) // 2 + 3 * n
            text = socket.inet_ntop(socket.AF_INET6, struct.pack("<QQ", words[at], words[at + 1]))
            rtt, origin = words[at + 2] & 0xFFFFFFFF, words[at + 2] >> 32
        judged = self._judgement((5 if self._judgement(1) else 2) + n)
        trust = TRUST[judged & 7]
        return Address(
            text,
            rtt if rtt < _UNMEASURED else None,
            None if rtt == _UNMEASURED else rtt != _UNREACHABLE,
            origin >> 8 & 0x7FFFFF,
            judged >> 3,
            trust,
            origin >> 31 != 0 or trust == "verified",
            origin & 0xFF,
        )

    def _judgement(self, at: int) -> int:
        """An octet of what is said of the family since ABI 1.3; 0 where the record ends before."""
        octets, start = self._entry.judged()
        if self.family == AAAA and self._entry.words[1] >> 40 & 1:
            start += (5 if octets[start + 1 : start + 2] > b"\0" else 2) + (self._entry.words[1] >> 24 & 0xFF)
        own = octets[start + at : start + at + 1]
        return own[0] if own else 0

    @property
    def answered(self) -> int:
        """How many upstreams had answered when the set was published."""
        return self._judgement(0)

    @property
    def disputes(self) -> List[str]:
        """Why the upstreams disagree about the set, if they do."""
        bits = self._judgement(1)
        return [word for n, word in enumerate(_DISPUTES) if bits >> n & 1]

    @property
    def dissenters(self) -> List[int]:
        """The upstreams that disagree, from 1 on; 23 stands for all after the first 22."""
        if not self._judgement(1):
            return []
        bits = sum(self._judgement(2 + n) << 8 * n for n in range(3))
        return [n + 1 for n in range(24) if bits >> n & 1]

    @property
    def canonical(self) -> str:
        """The canonical name: that of the first address, or of the denial."""
        chain = self.addresses[0].chain if self._count else 0
        entry = self._entry
        tails = entry.tails()
        first = entry.tail_octets(A)
        tail = tails[:first] if self.family == A else tails[first : first + entry.tail_octets(AAAA)]
        return text_of(_last_target(tail, chain) or entry.wire)


def _last_target(tail: bytes, chain: int) -> Optional[bytes]:
    """The last target in a chain of CNAMEs; None if it has none."""
    try:
        chains, at = tail[0], 1
        for n in range(min(chains, chain + 1)):
            links, at, last = tail[at], at + 1, None
            for _ in range(links):
                length = tail[at + 6]
                last = tail[at + 7 : at + 7 + length]
                at += 7 + length
            if n == chain:
                return last
    except IndexError:
        pass
    return None


class Entry:
    """What a table has for one name, all of one publish, and the header's rules at that time."""

    __slots__ = ("words", "now_ms", "stale", "families", "_octets")

    def __init__(self, words: List[int], now_ms: int, stale: int, families: int) -> None:
        self.words, self.now_ms, self.stale, self.families = words, now_ms, stale, families
        self._octets: Optional[bytes] = None

    @property
    def version(self) -> int:
        return self.words[0] >> 1

    @property
    def is_intact(self) -> bool:
        """Whether the checksum is right."""
        return is_intact(self.words)

    def set(self, family: int) -> Optional[Set]:
        """The set of a family, A or AAAA; None if the table does not have it."""
        return Set(self, family) if self.words[1] >> 40 & family else None

    def octets(self) -> bytes:
        if self._octets is None:
            self._octets = struct.pack("<%dQ" % len(self.words), *self.words)
        return self._octets

    def _key_at(self) -> int:
        return 3 + 4 * ((self.words[1] >> 40 & 1) + (self.words[1] >> 41 & 1))

    @property
    def wire(self) -> bytes:
        at = 8 * self._key_at()
        return self.octets()[at : at + (self.words[1] >> 16 & 0xFF)]

    @property
    def name(self) -> str:
        return text_of(self.wire)

    def tail_octets(self, family: int) -> int:
        own = self.set(family)
        return self.words[own._block + 3] & 0xFFFF if own else 0

    def _tails_at(self) -> int:
        shape = self.words[1]
        v4, v6 = shape >> 24 & 0xFF, shape >> 32 & 0xFF
        return self._key_at() + ((shape >> 16 & 0xFF) + 7) // 8 + v4 + (v4 + 1) // 2 + 3 * v6

    def tails(self) -> bytes:
        return self.octets()[8 * self._tails_at() :]

    def judged(self) -> "tuple[bytes, int]":
        tails = self.tail_octets(A) + self.tail_octets(AAAA)
        return self.octets(), 8 * (self._tails_at() + (tails + 7) // 8)

    def status(self, families: int) -> Status:
        sets = {family: self.set(family) for family in (A, AAAA)}
        is_denied = any(own and own.denial == "nxdomain" and own.use == "fresh" for own in sets.values())
        status = Status.FRESH
        for family, own in sets.items():
            if not families & family:
                continue
            use = own.use if own else "unknown"
            if use == "fresh" or (is_denied and not (own and len(own))):
                continue
            if use == "unknown":
                status = Status.INCOMPLETE
            elif status is Status.FRESH:
                status = Status.STALE
        return status

    def ordered(self, families: int = BOTH) -> List[Address]:
        """The addresses of the wanted families in the order that the daemon's configuration says for both of them
        (sort.families), best first."""
        sets = [self.set(family) for family in (A, AAAA) if families & family]
        parts = [own.addresses for own in sets if own and len(own)]
        order = self.families & 0xFF
        both = [address for part in parts for address in part]
        if len(parts) < 2 or order not in (1, 2, 3):
            return both
        has_verified = any(address.trust == "verified" for address in both)

        def rank(one: Address) -> tuple:
            is_bad = has_verified and one.trust in _BAD
            if order != 1:
                return (is_bad, one.is_ipv6 == (order == 3))
            return (is_bad, not one.confirmed, 0 if one.reachable else 1 if one.reachable is None else 2)

        # Of one rank each family keeps its own order, and both are merged by their times.
        merged = []
        for own_rank in sorted({rank(one) for one in both}):
            fours, sixes = ([one for one in part if rank(one) == own_rank][::-1] for part in parts)
            while fours or sixes:
                is_four = fours and (not sixes or (fours[-1].rtt_us or 0) < (sixes[-1].rtt_us or 0))
                merged.append((fours if is_four else sixes).pop())
        return merged

    def withholds(self, family: int) -> bool:
        """Whether the daemon withholds a family from programs that sort both families by themselves
        (sort.withhold). Programs that use the order of `ordered` need not ask."""
        own, other = self.set(family), self.set(BOTH ^ family)
        if not self.families >> 8 & 1 or not own or not other or not len(own) or not len(other):
            return False
        if own.use != "fresh" or other.use != "fresh":
            return False
        verified = [any(a.trust == "verified" for a in one.addresses) for one in (own, other)]
        good = [
            a.rtt_us for a in other.addresses if a.rtt_us is not None and a.confirmed and a.trust not in _BAD
        ]
        if (verified[0] and not verified[1]) or not good or any(a.reachable is None for a in own.addresses):
            return False
        times = [a.rtt_us for a in own.addresses if a.rtt_us is not None]
        return not times or min(times) - min(good) > self.families >> 32
