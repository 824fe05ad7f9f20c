"""Prints how long lookups take in nanoseconds, for src/client/benches/languages.rs, which writes the table."""

import time

import hither

NAME = "www.host00007.example.com"
BATCH = 2000


def nanoseconds(run) -> float:
    times = []
    for _ in range(15):
        began = time.perf_counter_ns()
        for _ in range(BATCH):
            run()
        times.append((time.perf_counter_ns() - began) / BATCH)
    return sorted(times)[len(times) // 2]


def main() -> None:
    table = hither.Table()
    assert table.lookup(NAME).status is hither.Status.FRESH and len(table.lookup(NAME).addresses) == 8
    print("text", nanoseconds(lambda: table.lookup(NAME)))
    print("addresses", nanoseconds(lambda: table.lookup(NAME).addresses))


if __name__ == "__main__":
    main()
