"""A name server of a script with fixed addresses, and queries to a daemon under test."""
import socket, struct, sys, threading, time


def encode(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def upstream(sets, ttl=300):
    """Answers A and AAAA of each name, given in wire form, with its addresses of that family. Returns its port."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))

    def serve():
        while True:
            query, peer = server.recvfrom(2048)
            end = query.index(0, 12) + 1
            family = {b"\0\1": socket.AF_INET, b"\0\x1c": socket.AF_INET6}.get(query[end:end + 2])
            found = [one for one in sets.get(query[12:end].lower(), []) if family == (socket.AF_INET6 if ":" in one else socket.AF_INET)]
            packed = [socket.inet_pton(family, one) for one in found]
            records = b"".join(b"\xc0\x0c" + query[end:end + 4] + struct.pack("!IH", ttl, len(one)) + one for one in packed)
            soa = b"\xc0\x0c\0\6\0\1" + struct.pack("!I", ttl) + b"\0\x16\0\0" + bytes(16) + struct.pack("!I", ttl)
            counts = struct.pack("!HHH", len(packed), not packed, 0)
            server.sendto(query[:2] + b"\x81\x80\0\1" + counts + query[12:end + 4] + (records or soa), peer)
    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def ask(port, name, rtype=b"\0\1"):
    """Sends a query until there is a reply."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(1)
        for _ in range(10):
            try:
                client.sendto(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + encode(name) + rtype + b"\0\1", ("127.0.0.1", port))
                return client.recv(4096)
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.05)
    sys.exit("hitherd does not answer")
