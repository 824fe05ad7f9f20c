"""A network of one's own: a TUN device behind which every address answers after a delay of its choice.

    responder = TunResponder("198.18.0.0/24", {"198.18.0.1": 50, ...})       # milliseconds; addresses not named stay silent

Answers ICMP echo, and TCP SYN to any port with SYN-ACK. `jitter` and `loss` are shares (0.05: up to 5 % later; one of 20 packets lost),
`blocked` are protocols that are never answered (1: ICMP). Needs CAP_NET_ADMIN and /dev/net/tun; to be used in a network namespace.
"""
import fcntl, os, random, struct, subprocess, threading


def _sum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class TunResponder:
    def __init__(self, network, delays_ms, name="tun0", jitter=0, loss=0, blocked=(), seed=1):
        self.jitter, self.loss, self.blocked, self.random = jitter, loss, blocked, random.Random(seed)
        self.delays = {tuple(int(o) for o in a.split(".")): ms for a, ms in delays_ms.items()}
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
        for command in (["addr", "add", "192.0.2.254/32", "dev", name], ["link", "set", name, "up"], ["route", "add", network, "dev", name]):
            subprocess.run(["ip", *command], check=True)
        self.seen = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            packet = os.read(self.fd, 2048)
            if len(packet) < 28 or packet[0] >> 4 != 4:
                continue
            header = (packet[0] & 15) * 4
            source, target, protocol, body = packet[12:16], packet[16:20], packet[9], packet[header:]
            delay = self.delays.get(tuple(target))
            if protocol != 6 or body[13] & 0x12 == 2:
                self.seen.append((".".join(map(str, target)), protocol))
            if delay is None or protocol in self.blocked or self.random.random() < self.loss:
                continue
            delay *= 1 + self.jitter * self.random.random()
            if protocol == 1 and body[0] == 8:
                answer = b"\0" + body[1:2] + b"\0\0" + body[4:]
                answer = answer[:2] + struct.pack("!H", _sum(answer)) + answer[4:]
            elif protocol == 6 and body[13] & 0x12 == 2:
                sport, dport, seq = struct.unpack("!HHI", body[:8])
                answer = struct.pack("!HHIIBBHHH", dport, sport, 1, (seq + 1) & 0xFFFFFFFF, 0x50, 0x12, 65535, 0, 0)
                pseudo = target + source + struct.pack("!BBH", 0, 6, len(answer))
                answer = answer[:16] + struct.pack("!H", _sum(pseudo + answer)) + answer[18:]
            else:
                continue
            head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(answer), 0, 0, 64, protocol, 0, target, source)
            head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
            threading.Timer(delay / 1000, os.write, (self.fd, head + answer)).start()
