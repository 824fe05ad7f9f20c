"""Domain names, and the hash and checksum of hither-table(5)."""

from __future__ import annotations

import functools
import struct
from typing import List, Sequence, Tuple

_MASK = (1 << 64) - 1
_SPECIAL = frozenset(b'.();@$"\\')
SUM_START = 0x9E3779B97F4A7C15


class Name:
    """A domain name, ready to be looked up."""

    __slots__ = ("wire", "words", "length")

    def __init__(self, wire: bytes) -> None:
        padded = wire + bytes(-len(wire) % 8)
        self.wire = wire
        self.length = len(wire)
        self.words: List[int] = list(struct.unpack("<%dQ" % (len(padded) // 8), padded))

    def __str__(self) -> str:
        return text_of(self.wire)


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Name:
    """Reads a name in any letter case, with or without a final dot; \\DDD and \\X are escapes.

    Raises ValueError if it is none: a label is empty or has over 63 octets, or the name has over 255 octets.
    """
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError:
        raise ValueError("%r is not a domain name in ASCII" % text) from None
    if octets == b".":
        return Name(b"\0")
    labels, label, at = [], bytearray(), 0
    while at < len(octets):
        octet = octets[at]
        at += 1
        if octet == 0x2E:
            labels.append(bytes(label))
            label = bytearray()
            continue
        if octet == 0x5C:
            octet, at = _escape(octets, at, text)
        label.append(octet)
    if label:
        labels.append(bytes(label))
    wire = b"".join(bytes([len(own)]) + own.lower() for own in labels if len(own) < 64) + b"\0"
    if not labels or len(wire) > 255 or not all(0 < len(own) < 64 for own in labels):
        raise ValueError("%r is not a domain name" % text)
    return Name(wire)


def _escape(octets: bytes, at: int, text: str) -> Tuple[int, int]:
    digits = octets[at : at + 3]
    if digits[:1].isdigit():
        if len(digits) == 3 and digits.isdigit() and int(digits) < 256:
            return int(digits), at + 3
    elif digits:
        return digits[0], at + 1
    raise ValueError("%r is not a domain name" % text)


def text_of(wire: bytes) -> str:
    """The text of a name in wire form, with a final dot and with escapes where they are needed."""
    text, at = [], 0
    while at < len(wire) and wire[at]:
        for octet in wire[at + 1 : at + 1 + wire[at]]:
            if octet in _SPECIAL:
                text.append("\\" + chr(octet))
            else:
                text.append(chr(octet) if 0x20 < octet < 0x7F else "\\%03d" % octet)
        text.append(".")
        at += 1 + wire[at]
    return "".join(text) or "."


def _mum(a: int, b: int) -> Tuple[int, int]:
    product = a * b
    return a ^ (product & _MASK), b ^ (product >> 64)


def _mix(a: int, b: int) -> int:
    product = a * b
    return a ^ b ^ (product & _MASK) ^ (product >> 64)


def hash_of(key: bytes, secrets: Sequence[int]) -> int:
    """rapidhash V3 micro, protected, with the seed and the seven secrets of a table."""
    seed, s = secrets[0], secrets[1:]
    count = left = len(key)

    def word(at: int) -> int:
        return int.from_bytes(key[at : at + 8], "little")

    if count > 16:
        at = 0
        if left > 80:
            lanes = [seed] * 5
            while left > 80:
                for i in range(5):
                    lanes[i] = _mix(word(at + 16 * i) ^ s[i], word(at + 16 * i + 8) ^ lanes[i])
                at, left = at + 80, left - 80
            seed = lanes[0] ^ lanes[1] ^ lanes[2] ^ lanes[3] ^ lanes[4]
        for i, which in enumerate((2, 2, 1, 1)):
            if left > 16 + 16 * i:
                seed = _mix(word(at + 16 * i) ^ s[which], word(at + 16 * i + 8) ^ seed)
        a, b = word(count - 16) ^ left, word(count - 8)
    elif count >= 8:
        seed ^= count
        a, b = word(0), word(count - 8)
    elif count >= 4:
        seed ^= count
        a, b = int.from_bytes(key[:4], "little"), int.from_bytes(key[count - 4 :], "little")
    elif count:
        a, b = key[0] << 45 | key[-1], key[count // 2]
    else:
        a = b = 0
    a, b = _mum(a ^ s[1], b ^ seed)
    return _mix(a ^ 0xAAAAAAAAAAAAAAAA, b ^ s[1] ^ left)


def sum_of(before: int, word: int) -> int:
    """Takes a word into a checksum."""
    product = (before ^ word) * 0xD6E8FEB86659FD93
    return (product & _MASK) ^ (product >> 64) ^ 0x2545F4914F6CDD1D
