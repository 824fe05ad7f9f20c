"""A network of one's own: a TUN device behind which every address answers after a delay of its choice.

    responder = TunResponder("198.18.0.0/24", {"198.18.0.1": 50, ...})       # milliseconds; addresses not named stay silent
    responder = TunResponder(["198.18.0.0/24", "2001:db8::/32"], {...}, refused={"198.18.0.2"})

Answers ICMP echo, and TCP SYN to any port with SYN-ACK, or with RST if the address is `refused`; a segment with data is reset. `jitter` and
`loss` are shares (0.05: up to 5 % later; one of 20 packets lost), `blocked` are protocols that are never answered (1: ICMP, 58: ICMP for
IPv6). `delays` may be changed at any time. Needs CAP_NET_ADMIN and /dev/net/tun; to be used in a network namespace.
"""
import fcntl, os, random, socket, struct, subprocess, threading

ECHO = {1: (8, 0), 58: (128, 129)}
TCP, SYN, RST, ACK = 6, 2, 4, 16


def _sum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _octets(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _read(packet):
    """Source, target, protocol and body; None for what is neither IPv4 nor IPv6 with at least 8 octets."""
    if len(packet) >= 28 and packet[0] >> 4 == 4:
        return packet[12:16], packet[16:20], packet[9], packet[(packet[0] & 15) * 4:]
    if len(packet) >= 48 and packet[0] >> 4 == 6:
        return packet[8:24], packet[24:40], packet[6], packet[40:]
    return None


def _packet(source, target, protocol, body, sum_at):
    """A packet with the checksum of its body at `sum_at`."""
    if len(source) == 16:
        pseudo = source + target + struct.pack("!IHBB", len(body), 0, 0, protocol)
        head = struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + target
    else:
        pseudo = source + target + struct.pack("!BBH", 0, protocol, len(body)) if protocol == TCP else b""
        head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, source, target)
        head = head[:10] + struct.pack("!H", _sum(head)) + head[12:]
    return head + body[:sum_at] + struct.pack("!H", _sum(pseudo + body)) + body[sum_at + 2:]


class TunResponder:
    def __init__(self, networks, delays_ms, name="tun0", jitter=0, loss=0, blocked=(), refused=(), seed=1):
        self.jitter, self.loss, self.blocked, self.random = jitter, loss, blocked, random.Random(seed)
        self.delays = {_octets(address): ms for address, ms in delays_ms.items()}
        self.refused = {_octets(address) for address in refused}
        self.fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self.fd, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
        networks = [networks] if isinstance(networks, str) else networks
        commands = [["addr", "add", "192.0.2.254/32", "dev", name], ["link", "set", name, "up"]]
        if any(":" in network for network in networks):
            commands.append(["-6", "addr", "add", "2001:db8:ffff::254/128", "dev", name, "nodad"])
        commands += [["-6" if ":" in network else "-4", "route", "add", network, "dev", name] for network in networks]
        for command in commands:
            subprocess.run(["ip", *command], check=True)
        self.seen = []
        threading.Thread(target=self._run, daemon=True).start()

    def silence(self, address):
        self.delays.pop(_octets(address), None)

    def _run(self):
        while True:
            read = _read(os.read(self.fd, 2048))
            if read is None:
                continue
            source, target, protocol, body = read
            is_syn = protocol == TCP and len(body) >= 20 and body[13] & (SYN | ACK) == SYN
            delay = self.delays.get(target)
            if is_syn or protocol in ECHO and body[0] == ECHO[protocol][0]:
                self.seen.append((socket.inet_ntop(socket.AF_INET6 if len(target) == 16 else socket.AF_INET, target), protocol))
            if delay is None or protocol in self.blocked or self.random.random() < self.loss:
                continue
            delay *= 1 + self.jitter * self.random.random()
            if protocol in ECHO and body[0] == ECHO[protocol][0]:
                answer, sum_at = bytes([ECHO[protocol][1]]) + body[1:2] + b"\0\0" + body[4:], 2
            elif protocol == TCP and len(body) >= 20:
                sport, dport, seq, ack, offset = struct.unpack("!HHIIB", body[:13])
                flags = (RST | ACK if target in self.refused else SYN | ACK) if is_syn else RST
                if not is_syn and len(body) == (offset >> 4) * 4:
                    continue  # without data
                answer = struct.pack("!HHIIBBHHH", dport, sport, 1 if is_syn else ack, (seq + 1) & 0xFFFFFFFF, 0x50, flags, 65535, 0, 0)
                sum_at = 16
            else:
                continue
            threading.Timer(delay / 1000, os.write, (self.fd, _packet(target, source, protocol, answer, sum_at))).start()
