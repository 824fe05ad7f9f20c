"""Orders of address sets whose true round-trip times are known.

    known_delays.py DIRECTORY_OF_PROGRAMS SCENARIO     as root, in a network namespace of its own

Runs hitherd and its sorter before a TUN device that answers each address after a known time, and prints a JSON object: every order that
was published, with its time after the first answer (milliseconds), the true order, the measured times, and the number of probes.
The environment variable SEED chooses another jitter and other losses.
"""
import json, os, pathlib, random, signal, subprocess, sys, tempfile, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from name_server import ask, encode, upstream
from tun_responder import TunResponder

NAME, PROGRAMS = "ranked.example", pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
SPREAD = [1, 300, 40, 90, 5, 150, 60, 20, 210, 120]
SCENARIOS = {  # delays in milliseconds, how the network behaves, how long orders are watched after the first answer
    "spread": dict(delays=SPREAD, jitter=0.05, seconds=1.5),
    "icmp-blocked": dict(delays=SPREAD, jitter=0.05, blocked=(1,), seconds=1.5),
    "icmp-blocked-learned": dict(delays=SPREAD, jitter=0.05, blocked=(1,), seconds=1.5, before=8),
    "one-silent": dict(delays=[20, 60, 40, None], seconds=4),
    "loss": dict(delays=[20, 60, 40, 100], loss=0.1, seconds=3),
    "near": dict(delays=[20, 23, 26], jitter=0.05, loss=0.1, seconds=30),
    "stopped": dict(delays=[20, 60, 40, 80], seconds=3, stop_ms=400),
}


def address(n):
    return f"198.18.0.{n + 1}"


def main():
    scenario = SCENARIOS[sys.argv[2]]
    delays, seconds = scenario["delays"], scenario["seconds"]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if not os.path.exists("/dev/net/tun"):
        os.makedirs("/dev/net", exist_ok=True)
        subprocess.run(["mknod", "/dev/net/tun", "c", "10", "200"], check=True)
    known = {address(n): delay for n, delay in enumerate(delays) if delay is not None}
    before = {f"before{n}.example": [f"198.18.1.{2 * n + 1}", f"198.18.1.{2 * n + 2}"] for n in range(scenario.get("before", 0))}
    known.update({one: 10 for addresses in before.values() for one in addresses})
    ways = {key: scenario[key] for key in ("jitter", "loss", "blocked") if key in scenario}
    responder = TunResponder("198.18.0.0/15", known, seed=int(os.environ.get("SEED", "1")), **ways)
    addresses = [address(n) for n in range(len(delays))]
    random.Random(7).shuffle(addresses)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hither-ranking-"))
    port = upstream({encode(NAME): addresses, **{encode(name): value for name, value in before.items()}})
    own = 5300
    (directory / "hither.toml").write_text(f"""runtime_dir = "{directory}"
[listen]
dns = ["127.0.0.1:{own}"]
[[upstream]]
address = "127.0.0.1:{port}"
""")
    daemon = subprocess.Popen([PROGRAMS / "hitherd", "--config", directory / "hither.toml", "--with-sorter"], stderr=subprocess.DEVNULL)
    try:
        ask(own, "warm.example")
        ctl = [PROGRAMS / "hitherctl", "--runtime-dir", directory, "--json"]
        status = lambda: json.loads(subprocess.run([*ctl, "status"], capture_output=True, text=True, check=True).stdout)
        while not status()["sorter"].get("pid"):
            time.sleep(0.02)
        for name in before:
            ask(own, name)
        lookup = lambda name: subprocess.run([*ctl, "lookup", name], capture_output=True, text=True).stdout
        while not all('"sorted":true' in lookup(name).replace(" ", "") for name in before):
            time.sleep(0.05)
        probes, watched = len(responder.seen), []
        watch = subprocess.Popen([*ctl, "watch", NAME, "A"], stdout=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: [watched.append((time.monotonic(), json.loads(line))) for line in watch.stdout], daemon=True).start()
        time.sleep(0.2)
        ask(own, NAME)
        began = time.monotonic()
        if "stop_ms" in scenario:
            sorter = int(status()["sorter"]["pid"])
            while len(responder.seen) < probes + len(delays):
                time.sleep(0.0005)
            os.kill(sorter, signal.SIGSTOP)
            time.sleep(scenario["stop_ms"] / 1000)
            os.kill(sorter, signal.SIGCONT)
        time.sleep(seconds)
        watch.terminate()
        show(watched, began, delays, len(responder.seen) - probes)
    finally:
        daemon.terminate()
        daemon.wait()


def show(watched, began, delays, probes):
    true = sorted((address(n) for n, delay in enumerate(delays) if delay is not None), key=lambda one: delays[int(one.split(".")[3]) - 1])
    orders, measured = [], {}
    for at, line in watched:
        entry = line.get("a") or line
        found = entry.get("addresses") or []
        order = [one["address"] for one in found]
        measured = {one["address"]: one.get("rtt_us") for one in found}
        if order and (not orders or orders[-1]["order"] != order or orders[-1]["sorted"] != entry.get("sorted")):
            orders.append({"ms": round((at - began) * 1000), "sorted": entry.get("sorted"), "order": order})
    reachable = [one for one in (orders[-1]["order"] if orders else []) if one in true]
    bias = {one: round(measured[one] / 1000 - delays[int(one.split(".")[3]) - 1], 2) for one in true if measured.get(one) is not None}
    print(json.dumps({"orders": orders, "true": true, "is_right": reachable == true, "bias_ms": bias, "probes": probes}))


if __name__ == "__main__":
    main()
