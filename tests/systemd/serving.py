"""Queries and replies: the first query, three name servers of different makers, the sorter, clients of all kinds, and restarts."""
import json, os, pathlib, re, signal, socket, subprocess, threading, time

from common import check, configure, ctl, dig, journal, lookup, main, prepare, prop, resolve_by, run, stats, until

NAME = "www.example.test"

# Subscribes to a name that nothing has asked for. Prints the kinds of the first two records: accepted, change.
SUBSCRIBER = """
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(30)
s.connect("/run/hither/changes")
s.send(b"\\x01\\x01\\x05other\\x07example\\x04test\\x00")
print(s.recv(300)[0], s.recv(300)[0])
"""


def relay(port, server, delay_ms):
    """Relays UDP from 127.0.0.1:port to a name server, and delays its responses."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", port))

    def serve():
        while True:
            query, peer = here.recvfrom(4096)

            def ask(query=query, peer=peer):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
                    there.settimeout(3)
                    there.sendto(query, server)
                    answer = there.recv(4096)
                    threading.Timer(delay_ms / 1000, here.sendto, (answer, peer)).start()
            threading.Thread(target=ask, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()


def name_servers():
    """Starts unbound without delay, nsd with a CNAME after 150 ms, and dnsmasq after 400 ms. Each has other addresses for the same name."""
    etc = pathlib.Path("/etc/check"); etc.mkdir()
    (etc / "unbound.conf").write_text(f"""server:
  interface: 127.0.0.1@5301
  do-daemonize: no
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-not-query-localhost: no
  access-control: 127.0.0.0/8 allow
  module-config: "iterator"
  local-zone: "example.test." static
  local-data: "{NAME}. 300 A 198.18.0.1"
  local-data: "{NAME}. 300 A 198.18.0.2"
  local-data: "example.test. 300 SOA ns.example.test. host.example.test. 1 3600 600 86400 60"
remote-control:
  control-enable: no
""")
    (etc / "zone").write_text(f"""$ORIGIN example.test.
$TTL 300
@ SOA ns host 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www CNAME edge
edge A 198.18.0.3
edge A 198.18.0.4
""")
    (etc / "nsd.conf").write_text("""server:
  ip-address: 127.0.0.1@5312
  username: ""
  zonesdir: "/etc/check"
  pidfile: "/run/check-nsd.pid"
  xfrdfile: ""
  zonelistfile: "/run/check-nsd.list"
remote-control:
  control-enable: no
zone:
  name: "example.test"
  zonefile: "zone"
""")
    (etc / "hosts").write_text(f"198.18.0.5 {NAME}\n198.18.0.1 {NAME}\n")
    servers = [
        ["unbound", "-c", str(etc / "unbound.conf"), "-d"],
        ["nsd", "-c", str(etc / "nsd.conf"), "-d"],
        ["dnsmasq", "--keep-in-foreground", "--port=5313", "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts",
         f"--addn-hosts={etc / 'hosts'}", "--local=/example.test/", "--auth-ttl=300", "--local-ttl=300", "--user=root", "--conf-file=/dev/null"],
    ]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in servers]
    relay(5302, ("127.0.0.1", 5312), 150)
    relay(5303, ("127.0.0.1", 5313), 400)
    for port in (5301, 5312, 5313):
        check(f"the name server at port {port} is up", until(lambda: NAME in dig("@127.0.0.1", "-p", str(port), NAME).stdout and "198.18" in dig("@127.0.0.1", "-p", str(port), "+short", NAME).stdout))
    return running


def watching():
    seen = []
    process = subprocess.Popen(["hitherctl", "watch", "--json", NAME], stdout=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: seen.extend(json.loads(line) for line in process.stdout), daemon=True).start()
    return process, seen


def is_measured(entry):
    """Whether a set is complete and its order final: an order may come before the slowest address has answered."""
    return entry.get("state") == "complete" and entry["sorted"] and all(a["rtt_us"] for a in entry["addresses"])


def activation():
    check("the socket unit listens", prop("hitherd.socket", "ActiveState") == "active", run("systemctl", "status", "hitherd.socket").stdout)
    check("the daemon does not run yet", prop("hitherd.service", "ActiveState") == "inactive")
    watcher, seen = watching()
    answer = dig("@127.0.0.1", "+short", NAME)
    check("the first query starts the daemon and is answered", "198.18.0.1" in answer.stdout, answer.stdout + answer.stderr)
    check("the service reports that it is ready", until(lambda: prop("hitherd.service", "ActiveState") == "active"))
    check("its status line has the uptime", " up, " in prop("hitherd.service", "StatusText"), prop("hitherd.service", "StatusText"))
    check("the sorter is started with it", until(lambda: prop("hither-sorter.service", "ActiveState") == "active"))
    check("the address set is complete and sorted", until(lambda: is_measured(lookup(NAME))), lookup(NAME))
    entry = lookup(NAME)
    order = [a["address"] for a in entry["addresses"]]
    expected = [f"198.18.0.{n}" for n in (2, 1, 5, 3, 4)]
    check("the addresses of all three servers are there: those of the first answer, then extra addresses, both by latency", order == expected, entry)
    micros = [a["rtt_us"] for a in entry["addresses"]]
    check("the measured round-trip times are those of the TUN device", all(low * 1000 <= us < low * 1000 + 45000 for us, low in zip(micros, (20, 50, 5, 25, 80))), micros)
    steps = lambda: [(e["state"], e["sorted"], len(e["addresses"])) for e in list(seen)]
    # The watcher is a process of its own: it may print a state after the lookup above has seen it.
    saw = until(lambda: steps()[-1:] == [("complete", True, 5)])
    watcher.send_signal(signal.SIGTERM); watcher.wait()
    check("another process saw the states first, complete and sorted", saw and steps()[0] == ("first", False, 2), steps())
    versions = [e["version"] for e in seen]
    check("another process saw growing versions", versions == sorted(set(versions)), versions)


def clients():
    for server in ("127.0.0.1", "::1"):
        for flags in ([], ["+tcp"]):
            answer = dig(f"@{server}", *flags, NAME)
            check(f"dig @{server} {' '.join(flags)}", "198.18.0.5" in answer.stdout and "NOERROR" in answer.stdout, answer.stdout)
    full = dig("@127.0.0.1", "+noall", "+answer", NAME).stdout
    check("a reply has the addresses of one chain", "CNAME" not in full and "198.18.0.3" not in full, full)
    resolve_by("nameserver 127.0.0.1\n")
    answer = run("getent", "ahostsv4", NAME)
    check("getent", "198.18.0.5" in answer.stdout, answer.stdout + answer.stderr)
    pathlib.Path("/etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files hither [NOTFOUND=return] dns\n")
    queries = stats()["queries"]
    answer = run("getent", "ahostsv4", NAME)
    check("getent through libnss_hither", "198.18.0.5" in answer.stdout, answer.stdout + answer.stderr)
    check("getent has hither's order", answer.stdout.split()[0] == lookup(NAME)["addresses"][0]["address"], answer.stdout)
    check("getent causes no query", stats()["queries"] == queries, stats())
    answer = run("setpriv", "--reuid=nobody", "--clear-groups", "getent", "ahostsv4", NAME)
    check("getent works for the user nobody", "198.18.0.5" in answer.stdout, answer.stdout + answer.stderr)
    told = run("setpriv", "--reuid=nobody", "--clear-groups", "python3", "-c", SUBSCRIBER)
    check("a program of another user is told of a change", told.stdout.split() == ["3", "1"], told.stdout + told.stderr)
    missing = dig("@127.0.0.1", "none.example.test")
    check("a name that does not exist gets NXDOMAIN with SOA", "NXDOMAIN" in missing.stdout and "SOA" in missing.stdout, missing.stdout)
    check("hitherctl lookup reports that it does not exist", ctl("lookup", "none.example.test").returncode == 4)
    check("verify", ctl("verify").returncode == 0, ctl("verify").stderr)


def askers():
    def top():
        near = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.connect("/run/hitherd/control.sock")
        near.send(b'{"top":{}}')
        return json.loads(near.recv(65536))["top"]
    top()
    units = lambda name: [unit["unit"] for known in top()["names"] if known["name"] == name + "." for unit in known["units"]]
    def ask(name, how):
        run("systemd-run", "--quiet", "--wait", "--collect", "--unit=asker", "dig", "@127.0.0.1", *how, name)
        return until(lambda: units(name)) == ["asker.service"]
    for how in ([], ["+tcp"]):
        # The upstream answers at once. A client that has ended before the kernel is asked for its socket stays unknown.
        names = (f"asked{len(how)}-{n}.example.test" for n in range(20))
        name = next((name for name in names if ask(name, how)), None)
        check(f"the unit behind a query is found inside the sandbox {' '.join(how)}", name is not None, top())
        asked_by = json.loads(ctl("explain", "--json", name or NAME, "A").stdout)["asked_by"]
        check("explain names the unit", [known["unit"] for known in asked_by["units"]] == ["asker.service"], asked_by)
    check("nothing prevents units from being found", top()["units_unknown"] is None, top())
    log = configure("91", "[log]\nqueries = \"misses\"\n")
    run("systemctl", "reload", "hitherd.service")
    run("systemd-run", "--quiet", "--wait", "--collect", "--unit=logged", "dig", "@127.0.0.1", "logged.example.test")
    entry = until(lambda: run("journalctl", "-b", "-o", "json", "HITHER_NAME=logged.example.test.").stdout.strip())
    entry = json.loads(entry.splitlines()[0]) if entry else {}
    expected = {"HITHER_UNIT": "logged.service", "HITHER_EVENT": "query", "HITHER_TYPE": "A", "HITHER_CLIENT": "127.0.0.1", "HITHER_RCODE": "NXDOMAIN"}
    check("the journal has the fields of a query", {field: entry.get(field) for field in expected} == expected, entry)
    log.unlink()
    run("systemctl", "reload", "hitherd.service")


def life():
    before, pid = lookup(NAME), prop("hitherd.service", "MainPID")
    check("the daemon is not root and has no capability", re.search(r"^CapEff:\s+0+$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M) is not None)
    check("the filter of system calls is on", "Seccomp:\t2" in pathlib.Path(f"/proc/{pid}/status").read_text())
    check("restart", run("systemctl", "restart", "hitherd.service").returncode == 0)
    check("the table is taken over", lookup(NAME).get("version") == before["version"], lookup(NAME))
    check("the journal says that the table is taken over", until(lambda: "taken over" in journal("hitherd")))
    pid = prop("hitherd.service", "MainPID")
    os.kill(int(pid), signal.SIGKILL)
    answer = dig("@127.0.0.1", "+short", NAME)
    check("a query during a crash is answered", "198.18.0.5" in answer.stdout, answer.stdout + answer.stderr)
    until(lambda: prop("hitherd.service", "MainPID") not in ("0", pid))
    check("flush", ctl("flush", NAME).returncode == 0 and ctl("lookup", NAME).returncode == 3)
    dig("@127.0.0.1", NAME)
    after = until(lambda: lookup(NAME) if lookup(NAME).get("sorted") else None) or {}
    check("versions grow over restart, crash and flush", after.get("version", 0) > before["version"], after)
    pid = int(prop("hitherd.service", "MainPID"))
    os.kill(pid, signal.SIGSTOP)
    check("lookup, dump and stats work while the daemon is stopped", all(ctl(v, *a).returncode == 0 for v, *a in (("lookup", NAME), ("dump",), ("stats",), ("verify",))))
    os.kill(pid, signal.SIGCONT)
    pathlib.Path("/etc/hither/hither.toml.d/90.toml").write_text("[round]\nfrist = 1\n")
    os.kill(pid, signal.SIGHUP)
    check("a wrong configuration is reported and the old one stays", until(lambda: "nearest known key is 'first'" in journal("hitherd")))
    pathlib.Path("/etc/hither/hither.toml.d/90.toml").write_text("[cache]\nmax_ttl = \"77s\"\n")
    os.kill(pid, signal.SIGHUP)
    check("a valid configuration is reloaded", until(lambda: "is reloaded" in journal("hitherd")))
    ctl("flush"); dig("@127.0.0.1", NAME)
    check("the new configuration is in force", 0 < lookup(NAME).get("ttl", 0) <= 77, lookup(NAME))
    check("links and files are followed inside the sandbox", "cannot be followed" not in journal("hitherd") and "cannot be watched" not in journal("hitherd"))
    pathlib.Path("/etc/hosts").write_text("203.0.113.9 created.example.test\n")
    check("a changed hosts file is noticed", until(lambda: "203.0.113.9" in dig("@127.0.0.1", "+short", "created.example.test").stdout))
    check("a reserved name gets NXDOMAIN", "NXDOMAIN" in dig("@127.0.0.1", "printer.local").stdout)
    sorter = prop("hither-sorter.service", "MainPID")
    check("the sorter runs as its own user", pathlib.Path(f"/proc/{sorter}").stat().st_uid not in (0, pathlib.Path(f"/proc/{pid}").stat().st_uid))
    check("both services have a watchdog", prop("hitherd.service", "WatchdogUSec") == "10s" and prop("hither-sorter.service", "WatchdogUSec") == "30s")
    os.kill(int(sorter), signal.SIGKILL)
    check("answers go on without the sorter", "198.18.0." in dig("@127.0.0.1", "+short", NAME).stdout)
    check("systemd restarts the sorter", until(lambda: prop("hither-sorter.service", "MainPID") not in ("0", sorter)))
    ctl("flush", NAME); dig("@127.0.0.1", NAME)
    check("the new sorter orders addresses", until(lambda: lookup(NAME).get("sorted")), lookup(NAME))
    start = time.monotonic()
    check("stop", run("systemctl", "stop", "hitherd.socket", "hitherd.service").returncode == 0 and time.monotonic() - start < 3)
    check("the service ends with success", prop("hitherd.service", "Result") == "success", prop("hitherd.service", "Result"))
    check("the sorter is stopped with it", until(lambda: prop("hither-sorter.service", "ActiveState") == "inactive"))


def start():
    if not os.path.exists("/dev/net/tun"):
        os.makedirs("/dev/net", exist_ok=True)
        run("mknod", "/dev/net/tun", "c", "10", "200")
    from tun_responder import TunResponder
    TunResponder("198.18.0.0/24", {"198.18.0.1": 50, "198.18.0.2": 20, "198.18.0.3": 25, "198.18.0.4": 80, "198.18.0.5": 5})
    name_servers()
    configure("10", "".join(f'[[upstream]]\naddress = "127.0.0.1:{port}"\n' for port in (5301, 5302, 5303)))


main(prepare, start, activation, clients, askers, life)
