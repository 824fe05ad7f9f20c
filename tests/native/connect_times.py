"""Times until a socket is connected: hither_connect, and curl for comparison, before a network of known round-trip times.

    connect_times.py DIRECTORY_OF_PROGRAMS DIRECTORY_OF_LIBRARIES [TRIES]     as root, in a network namespace of its own

Prints a line for each scenario: the median and the longest of the tries in milliseconds, of hither_connect without measured times (sort.enabled
= false) and with them, and of curl with the addresses in the upstream's order (IPv6 first, as getaddrinfo gives them) and in hither's.
"""
import ctypes, json, os, pathlib, statistics, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from name_server import ask, encode, upstream
from tun_responder import TunResponder

PROGRAMS, LIBRARIES, TRIES = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 11
V6 = "2001:db8:"
# Addresses in the upstream's order with their times in milliseconds; None: silent, "refused": a reset after 20 ms; "dies": 5 ms, and silent once
# it was measured.
SCENARIOS = {
    "all answer": {"198.18.0.1": 60, "198.18.0.2": 20, "198.18.0.3": 40, V6 + "1::1": 90, V6 + "1::2": 30},
    "the first address is dead": {"198.18.1.1": None, "198.18.1.2": 20},
    "IPv6 is a black hole": {"198.18.2.1": 20, V6 + "2::1": None, V6 + "2::2": None},
    "the first address refuses": {"198.18.3.1": "refused", "198.18.3.2": 20},
    "the nearest address has died": {"198.18.4.1": "dies", "198.18.4.2": 20},
    "one far address": {"198.18.5.1": 200},
}
PORT = 443


class Daemon:
    """hitherd, with the names in its table; with its sorter all names are measured."""
    def __init__(self, upstream_port, names, is_sorting, port):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="hither-connect-"))
        (self.directory / "hither.toml").write_text(
            f'runtime_dir = "{self.directory}"\n[listen]\ndns = ["127.0.0.1:{port}"]\n[[upstream]]\naddress = "127.0.0.1:{upstream_port}"\n'
            f"[sort]\nenabled = {str(is_sorting).lower()}\n")
        more = ["--with-sorter"] if is_sorting else []
        self.process = subprocess.Popen([PROGRAMS / "hitherd", "--config", self.directory / "hither.toml", *more], stderr=subprocess.DEVNULL)
        for name in names:
            for rtype in (b"\0\1", b"\0\x1c"):
                ask(port, name, rtype)
        end = time.monotonic() + 30
        while is_sorting and not all(self.is_measured(name) for name in names) and time.monotonic() < end:
            time.sleep(0.1)
        self.hither, self.table = ctypes.CDLL(str(LIBRARIES / "libhither.so.1")), (ctypes.c_uint64 * 256)()
        assert self.hither.hither_open(self.table, str(self.directory).encode()) == 0

    def sets(self, name):
        output = subprocess.run([PROGRAMS / "hitherctl", "--runtime-dir", self.directory, "--json", "lookup", name], capture_output=True, text=True)
        return [json.loads(line) for line in output.stdout.splitlines()]

    def is_measured(self, name):
        found = [one for family in self.sets(name) for one in family["addresses"]]
        return bool(found) and (len(found) == 1 or all(one["reachable"] is not None for one in found))

    def order(self, name):
        """All addresses, the nearest family first."""
        families = [family["addresses"] for family in self.sets(name) if family["addresses"]]
        families.sort(key=lambda family: family[0]["rtt_us"] or 1 << 40)
        return [one["address"] for family in families for one in family]

    def connect(self, name):
        descriptor, began = ctypes.c_int(), time.monotonic()
        result = self.hither.hither_connect(self.table, name.encode(), ctypes.c_uint16(PORT), ctypes.c_uint32(10000), ctypes.byref(descriptor))
        taken = (time.monotonic() - began) * 1000
        assert result == 0, f"{name}: {result}"
        os.close(descriptor.value)
        return taken


def curl(name, addresses):
    resolve = f"{name}:{PORT}:" + ",".join(f"[{one}]" if ":" in one else one for one in addresses)
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{time_connect}", "--connect-timeout", "10", "--max-time", "12", "--resolve", resolve,
               f"http://{name}:{PORT}/"]
    return float(subprocess.run(command, capture_output=True, text=True).stdout) * 1000


def shown(call, *arguments):
    times = [call(*arguments) for _ in range(TRIES)]
    return f"{statistics.median(times):7.1f} {max(times):7.1f}"


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if not os.path.exists("/dev/net/tun"):
        os.makedirs("/dev/net", exist_ok=True)
        subprocess.run(["mknod", "/dev/net/tun", "c", "10", "200"], check=True)
    times = {one: ms for addresses in SCENARIOS.values() for one, ms in addresses.items()}
    known = {one: {"refused": 20, "dies": 5}.get(ms, ms) for one, ms in times.items() if ms is not None}
    responder = TunResponder(["198.18.0.0/15", V6 + ":/32"], known, refused={one for one, ms in times.items() if ms == "refused"})
    names = {f"s{n}.example": list(addresses) for n, addresses in enumerate(SCENARIOS.values())}
    port = upstream({encode(name): addresses for name, addresses in names.items()}, ttl=3600)
    daemons = [Daemon(port, names, is_sorting, own) for is_sorting, own in ((False, 5301), (True, 5302))]
    try:
        for one in (one for one, ms in times.items() if ms == "dies"):
            responder.silence(one)
        print(f"{'median and longest of ' + str(TRIES) + ', ms':30} {'hither, unmeasured':>18} {'hither, measured':>18} {'curl':>18} {'curl, by hither':>18}")
        for scenario, (name, addresses) in zip(SCENARIOS, names.items()):
            v6_first = sorted(addresses, key=lambda one: ":" not in one)
            columns = [shown(daemon.connect, name) for daemon in daemons]
            columns += [shown(curl, name, order) for order in (v6_first, daemons[1].order(name))]
            print(f"{scenario:30} " + " ".join(f"{column:>18}" for column in columns), flush=True)
    finally:
        for daemon in daemons:
            daemon.process.terminate()
            daemon.process.wait()


main()
