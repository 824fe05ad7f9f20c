"""Prints what the table has for names, as JSON: a line for each family, and one with the answer and the order over
both families. Without arguments it reads names from standard input, a name a line."""

import json
import sys

from . import AAAA, BOTH, A, Set, Status, Table, TableError


def shown(name: str, rtype: str, own: Set) -> dict:
    addresses = [
        {"address": a.address, "rtt_us": a.rtt_us, "reachable": a.reachable, "trust": a.trust, "sources": a.sources}
        for a in own.addresses
    ]
    return {
        "name": name, "type": rtype, "version": own.version, "set_version": own.set_version, "round": own.round,
        "state": own.state, "sorted": own.is_sorted, "stale": own.use == "stale", "negative": own.denial,
        "ttl": own.ttl, "canonical": own.canonical, "answered": own.answered, "disputed": bool(own.disputes),
        "disputes": own.disputes, "dissenters": own.dissenters, "addresses": addresses,
    }  # fmt: skip


def show(table: Table, name: str) -> None:
    answers = [table.lookup(name, families) for families in (A, AAAA, BOTH)]
    entry = answers[2].entry
    about = {"asked": name, "answers": [a.status.value for a in answers], "order": [], "withheld": []}
    if entry:
        for family, rtype in ((A, "A"), (AAAA, "AAAA")):
            own = entry.set(family)
            if own and own.use != "unknown":
                print(json.dumps(shown(entry.name, rtype, own)))
            if entry.withholds(family):
                about["withheld"].append(rtype)
        about["order"] = [address.address for address in entry.ordered()]
    print(json.dumps(about))


def main() -> int:
    try:
        table = Table()
    except TableError as error:
        print(error, file=sys.stderr)
        return 1
    for name in sys.argv[1:] or (line.rstrip("\n") for line in sys.stdin):
        show(table, name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
