"""A steady load on 127.0.0.1:53. load.py RATE SECONDS [FRESH] sends RATE queries a second; FRESH of each thousand, spread evenly, are for new names.
When all are answered, or five seconds after the last query, it prints the counts as a JSON object. Queries without a reply by then are lost."""
import json, selectors, socket, struct, sys, time

RATE, SECONDS = int(sys.argv[1]), float(sys.argv[2])
FRESH = int(sys.argv[3]) if len(sys.argv) > 3 else 0
NAMES, PATIENCE = 100, 5
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(32)]
selector = selectors.DefaultSelector()
for number, one in enumerate(sockets):
    one.connect(("127.0.0.1", 53))
    one.setblocking(False)
    selector.register(one, selectors.EVENT_READ, number)


def query(at):
    name = f"c{at % NAMES}" if at * FRESH % 1000 >= FRESH else f"n{at}-{time.time_ns()}"
    labels = b"".join(bytes([len(part)]) + part.encode() for part in (name, "load", "test"))
    return struct.pack(">6H", at % 65536, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


sent, answered, failed, refused, worst, rcodes = 0, 0, 0, 0, 0.0, {}
waiting = {}
start = time.monotonic()
while True:
    now = time.monotonic()
    due = min(int((now - start) * RATE), int(SECONDS * RATE))
    while sent < due:
        try:
            sockets[sent % 32].send(query(sent))
        except ConnectionRefusedError:  # The error of an earlier query: the port was closed.
            refused += 1
            sockets[sent % 32].send(query(sent))
        waiting[sent % 32, sent % 65536] = now
        sent += 1
    if sent >= SECONDS * RATE and (not waiting or now > start + SECONDS + PATIENCE):
        break
    for key, _ in selector.select(0.001):
        try:
            while True:
                reply = key.fileobj.recv(2048)
                began = waiting.pop((key.data, struct.unpack(">H", reply[:2])[0]), None)
                if began is not None:
                    answered += 1
                    worst = max(worst, time.monotonic() - began)
                    rcode = reply[3] & 15
                    if rcode:
                        failed += 1
                        rcodes[rcode] = rcodes.get(rcode, 0) + 1
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            refused += 1
print(json.dumps({"sent": sent, "answered": answered, "lost": len(waiting), "failed": failed, "refused": refused, "rcodes": rcodes, "worst_ms": round(worst * 1000)}))
