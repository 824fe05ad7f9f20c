"""Reads beside a writer whose every set is derived from its version (tests/bindings.rs), and counts torn entries."""

import ipaddress
import os
import time

import hither

MASK = (1 << 32) - 1


def is_whole(entry: hither.Entry) -> bool:
    version = entry.version
    for family in (hither.A, hither.AAAA):
        own = entry.set(family)
        if own is None:
            if family == hither.A:
                return False
            continue
        if (own.version, own.round, len(own)) != (version, version, 1 + version % 16):
            return False
        for n, one in enumerate(own.addresses):
            number = int(ipaddress.ip_address(one.address))
            right = (version * 2654435761 + n) & MASK if family == hither.A else version << 64 | n
            if number != right or one.rtt_us != (version ^ n) & 0x7FFFFFFF:
                return False
    return True


def main() -> None:
    table = hither.Table()
    names = ["host%d.example.com" % n for n in range(64)]
    last = dict.fromkeys(names, 0)
    reads = hits = busy = torn = back = opened = 0
    file = table._current
    end = time.monotonic() + float(os.environ.get("HITHER_TORTURE_S", "3"))
    while time.monotonic() < end:
        for name in names:
            reads += 1
            answer = table.lookup(name)
            busy += answer.status is hither.Status.BUSY
            if answer.entry:
                hits += 1
                torn += not (is_whole(answer.entry) and answer.entry.is_intact)
                back += answer.entry.version < last[name]
                last[name] = answer.entry.version
        if table._current is not file:
            file = table._current
            opened += 1
    print("torture reads %d hits %d busy %d torn %d back %d opened %d" % (reads, hits, busy, torn, back, opened))
    raise SystemExit(bool(torn or back))


if __name__ == "__main__":
    main()
