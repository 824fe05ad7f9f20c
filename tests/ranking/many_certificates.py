"""What the sorter costs with many names whose certificates it judges, and whether it keeps its rates.

    many_certificates.py DIRECTORY_OF_PROGRAMS [NAMES [SECONDS]]     as root, in a network namespace of its own

Each name has four addresses of its own on loopback, all with a real TLS server and a certificate for the name. All names are asked for at
once; then the sorter is watched for SECONDS. Prints a JSON object: handshakes and probes a second, the share of one core in each third of
the time and the largest memory of the sorter, and how many addresses are verified at the end.
"""
import collections, json, os, pathlib, socket, ssl, subprocess, sys, tempfile, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from name_server import ask, encode, upstream

PROGRAMS = pathlib.Path(sys.argv[1])
NAMES = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
SECONDS = int(sys.argv[3]) if len(sys.argv) > 3 else 60
PORT, OWN = 4443, 5300


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def certificates(directory):
    """An authority, and a certificate of it for all names: an RSA one, which is the usual and the dearest one to check."""
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "ca.key", "-out", directory / "ca.pem", "-days", 30,
            "-subj", "/CN=an authority of the tests")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "leaf.key", "-out", directory / "leaf.csr", "-subj", "/CN=leaf")
    (directory / "leaf.ext").write_text("subjectAltName=DNS:*.names.example\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", directory / "leaf.csr", "-CA", directory / "ca.pem", "-CAkey", directory / "ca.key", "-days", 30,
            "-out", directory / "leaf.pem", "-extfile", directory / "leaf.ext")


def serve(directory, seen):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "leaf.pem", directory / "leaf.key")
    named = lambda connection, name, _: seen["names"].append((time.monotonic(), name))
    context.sni_callback = named
    listener = socket.create_server(("0.0.0.0", PORT), backlog=1024)

    def one(stream):
        stream.settimeout(5)
        try:
            with context.wrap_socket(stream, server_side=True):
                seen["completed"] += 1
        except OSError:
            pass

    def run():
        while True:
            stream, _ = listener.accept()
            seen["connections"].append(time.monotonic())
            threading.Thread(target=one, args=(stream,), daemon=True).start()
    threading.Thread(target=run, daemon=True).start()


def most_in(times, seconds):
    """The most of these times within any span of so many seconds."""
    times, most, first = sorted(times), 0, 0
    for at, time_ in enumerate(times):
        while times[first] < time_ - seconds:
            first += 1
        most = max(most, at - first + 1)
    return most


def main():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hither-certificates-"))
    certificates(directory)
    seen = collections.defaultdict(list, completed=0)
    serve(directory, seen)
    name = lambda n: f"n{n}.names.example"
    addresses = lambda n: [f"127.{1 + n // 250}.{n % 250}.{end}" for end in range(1, 5)]
    port = upstream({encode(name(n)): addresses(n) for n in range(NAMES)})
    (directory / "hither.toml").write_text(f"""runtime_dir = "{directory}"
[listen]
dns = ["127.0.0.1:{OWN}"]
[limits]
replies_per_second = 0
[[upstream]]
address = "127.0.0.1:{port}"
[tls]
ca_file = "{directory}/ca.pem"
[sort]
private = true
probes = ["tls:{PORT}", "icmp", "tcp:{PORT}"]
""")
    daemon = subprocess.Popen([PROGRAMS / "hitherd", "--config", directory / "hither.toml", "--with-sorter"], stderr=subprocess.DEVNULL)
    try:
        ask(OWN, "warm.example")
        ctl = [PROGRAMS / "hitherctl", "--runtime-dir", directory, "--json"]
        status = lambda: json.loads(subprocess.run([*ctl, "status"], capture_output=True, text=True, check=True).stdout)
        while not status()["sorter"].get("pid"):
            time.sleep(0.02)
        sorter = status()["sorter"]["pid"]
        ticks = lambda: sum(map(int, pathlib.Path(f"/proc/{sorter}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        began, before = time.monotonic(), ticks()
        for n in range(NAMES):
            ask(OWN, name(n))
        shares, since = [], (began, before)
        for third in range(1, 4):
            time.sleep(max(0, began + SECONDS * third / 3 - time.monotonic()))
            at = (time.monotonic(), ticks())
            shares.append(round(100 * (at[1] - since[1]) / os.sysconf("SC_CLK_TCK") / (at[0] - since[0]), 2))
            since = at
        took = time.monotonic() - began
        memory = [line.split()[1] for line in pathlib.Path(f"/proc/{sorter}/status").read_text().splitlines() if line.startswith("VmHWM") or line.startswith("RssAnon")]
        probes = status()["sorter"]["probes"]
        dump = subprocess.run([*ctl, "dump"], capture_output=True, text=True).stdout
        print(json.dumps({
            "seconds": round(took, 1),
            "core_percent_of_each_third": shares,
            "peak_kib": int(memory[0]),
            "own_kib": int(memory[1]),
            "probes_per_second": round(probes / took, 1),
            "handshakes_per_second": round(len(seen["names"]) / took, 2),
            "most_handshakes_in_10_s": most_in([at for at, _ in seen["names"]], 10),
            "names": len({one for _, one in seen["names"]}),
            "verified": dump.count('"verified"'),
            "completed": seen["completed"],
        }))
    finally:
        daemon.terminate()
        daemon.wait()


main()
