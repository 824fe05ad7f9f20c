"""A name server on loopback: answers each A question with one address, which is derived from the name."""
import socket, struct, threading, zlib


def answer(query):
    end = query.index(0, 12) + 5
    qtype = struct.unpack(">H", query[end - 4:end - 2])[0]
    name = query[12:end - 4].lower()
    if qtype != 1:
        soa = b"\x04load\x04test\0" + struct.pack(">HHIH", 6, 1, 60, 22) + b"\0\0" + struct.pack(">5I", 1, 3600, 600, 86400, 60)
        return query[:2] + struct.pack(">5H", 0x8180, 1, 0, 1, 0) + query[12:end] + soa
    address = socket.inet_aton(f"198.51.100.{zlib.crc32(name) % 254 + 1}")
    return query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:end] + b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + address


def serve(port, address="127.0.0.1"):
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((address, port))

    def loop():
        while True:
            query, peer = here.recvfrom(4096)
            try:
                here.sendto(answer(query), peer)
            except (ValueError, struct.error):
                pass
    threading.Thread(target=loop, daemon=True).start()
