"""A name server in a network namespace: answers each A question with one address and notes each question in a file. Names that begin with "big"
are answered over TCP only."""
import socket, struct, sys, threading

address, answer_with, path = sys.argv[1:4]
note = open(path, "a", buffering=1)


def answer(query, transport):
    end = query.index(0, 12) + 5
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace").lower())
        at += 1 + query[at]
    note.write(".".join(labels) + " " + transport + "\n")
    head, question = query[:2], query[12:end]
    if labels[0].startswith("big") and transport == "udp":
        return head + struct.pack(">5H", 0x8380, 1, 0, 0, 0) + question
    if struct.unpack(">H", query[end - 4:end - 2])[0] != 1:
        soa = b"\0" + struct.pack(">HHIH", 6, 1, 60, 22) + b"\0\0" + struct.pack(">5I", 1, 3600, 600, 86400, 60)
        return head + struct.pack(">5H", 0x8180, 1, 0, 1, 0) + question + soa
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 3600, 4) + socket.inet_aton(answer_with)
    return head + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + question + record


def streams(listener):
    while True:
        stream, _ = listener.accept()
        with stream:
            stream.settimeout(2)
            try:
                length = struct.unpack(">H", stream.recv(2, socket.MSG_WAITALL))[0]
                reply = answer(stream.recv(length, socket.MSG_WAITALL), "tcp")
                stream.sendall(struct.pack(">H", len(reply)) + reply)
            except (OSError, ValueError, struct.error, IndexError):
                pass


listener = socket.create_server((address, 53))
threading.Thread(target=streams, args=(listener,), daemon=True).start()
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.bind((address, 53))
while True:
    query, peer = here.recvfrom(4096)
    try:
        here.sendto(answer(query, "udp"), peer)
    except (ValueError, struct.error, IndexError):
        pass
