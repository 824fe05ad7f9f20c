"""The host around hither: findings of doctor and the effect of its commands, the NSS module in nsswitch.conf, and systemd-resolved with and without
its stub, beside hitherd and in front of it. Nothing is changed without a command of the operator."""
import json, os, pathlib, socket

from common import check, configure, ctl, dig, drop_in, main, prepare, prop, resolve_by, run, stats, until

NSSWITCH = pathlib.Path("/etc/nsswitch.conf")
BEFORE = "# kept\npasswd:  files\nhosts:          files resolve [!UNAVAIL=return] dns   # and this\n"


def findings():
    out = ctl("doctor", "--json")
    return {one["check"]: one for one in map(json.loads, out.stdout.splitlines())}, out.returncode


def state(name):
    return findings()[0].get(name, {}).get("state")


def fix(name):
    """Runs the command of a finding of doctor, word for word."""
    one = findings()[0].get(name, {})
    if not check(f"doctor has a command for '{name}'", one.get("fix"), one):
        return
    done = run("sh", "-c", one["fix"])
    check(f"the command works: {one['fix']}", done.returncode == 0, done.stderr)
    check(f"afterwards '{name}' is ok", until(lambda: state(name) == "ok"), findings()[0].get(name))


def start():
    # Without a link with carrier and an address, getaddrinfo returns no addresses and resolved considers the host offline.
    for command in ("ip link add v0 type veth peer name v1", "ip link set v0 up", "ip link set v1 up", "ip address add 192.0.2.10/24 dev v0"):
        run(*command.split())
    from upstream import serve
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    resolve_by("nameserver 127.0.0.1\n")
    NSSWITCH.write_text(BEFORE)
    run("systemctl", "start", "hitherd.service", "hither-sorter.service")
    check("hitherd answers", "198.51.100." in dig("@127.0.0.1", "+short", "first.load.test").stdout)
    until(lambda: json.loads(ctl("status", "--json").stdout)["sorter"]["connected"])
    all_, status = findings()
    bad = [one for one in all_.values() if one["state"] == "problem"]
    check("doctor finds no problem", not bad and status == 0, bad)
    check("installing and starting changed nothing", NSSWITCH.read_text() == BEFORE and pathlib.Path("/etc/resolv.conf").read_text() == "nameserver 127.0.0.1\n")
    for one in all_.values():
        print(f"        {one['state']:8} {one['check']:20} {one['found']}")


def taken():
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket(socket.AF_INET) as tcp:
        udp.bind(("127.0.0.1", 53)), tcp.bind(("127.0.0.1", 53)), tcp.listen()
        run("systemctl", "start", "hitherd.socket")
        all_, status = findings()
        holder = [one for one in all_.values() if "python3" in one["found"] and str(os.getpid()) in one["found"] and one["state"] == "problem"]
        check("doctor names the process that has port 53", status == 1 and holder, list(all_.values()))
    run("systemctl", "reset-failed")
    names = [one["check"] for one in findings()[0].values() if one["state"] == "problem" and one["check"].startswith("port")]
    check("once that process has ended, doctor reports that none has the port", names, findings()[0])
    fix(names[0] if names else "port 127.0.0.1:53")


def nss():
    for _ in range(2):
        done = ctl("enable-nss")
        check("enable-nss", done.returncode == 0, done.stderr)
    text = NSSWITCH.read_text()
    check("it adds hither once, before the sources that ask the DNS, and keeps everything else", text.count("hither") == 1 and text.index("files") < text.index("hither") < text.index("resolve") and "# and this" in text and text.startswith("# kept\npasswd:  files\n"), text)
    copies = [path.name for path in pathlib.Path("/etc").glob("nsswitch.conf?*") if path.read_text() == BEFORE]
    check("it keeps a copy of the file as it was", copies, sorted(path.name for path in pathlib.Path("/etc").glob("nsswitch.conf?*")))
    queries = None
    run("getent", "ahostsv4", "by-nss.load.test")
    queries = stats()["queries"]
    answer = run("getent", "ahostsv4", "by-nss.load.test")
    check("programs find names in the table, without a query", "198.51.100." in answer.stdout and stats()["queries"] == queries, answer.stdout)
    service = lambda *lines: run("systemd-run", "--quiet", "--wait", "--pipe", *[word for line in lines for word in ("-p", line)], "getent", "-s", "hosts:hither", "hosts", "by-nss.load.test")
    for lines, found in [((), True), (("DynamicUser=yes", "ProtectProc=invisible", "ProcSubset=pid", "PrivateUsers=yes"), True), (("PrivateNetwork=yes",), False)]:
        answer = service(*lines)
        check(f"a service with {', '.join(lines) or 'no sandbox'} {'is answered' if found else 'goes on to its next source'}", (answer.returncode, "198.51.100." in answer.stdout) == ((0, True) if found else (2, False)), answer)
    for name in ("nsswitch.conf", "NSS module"):
        check(f"doctor: {name} is ok", state(name) == "ok", findings()[0].get(name))
    for _ in range(2):
        done = ctl("disable-nss")
        check("disable-nss", done.returncode == 0, done.stderr)
    check("the file is as it was before, octet by octet", NSSWITCH.read_text() == BEFORE, NSSWITCH.read_text())
    fix("nsswitch.conf")
    ctl("disable-nss")
    done = run("setpriv", "--reuid=nobody", "--clear-groups", "hitherctl", "enable-nss")
    check("another user cannot enable the module", done.returncode == 1 and NSSWITCH.read_text() == BEFORE, done.stderr)


def ping():
    path = pathlib.Path("/proc/sys/net/ipv4/ping_group_range")
    path.write_text("1 0")
    run("systemctl", "restart", "hither-sorter.service")
    check("doctor warns if no group may ping", until(lambda: state("ICMP") == "warning"), findings()[0].get("ICMP"))
    fix("ICMP")


def resolved():
    run("systemctl", "unmask", "systemd-resolved.service")
    done = run("systemctl", "start", "systemd-resolved.service")
    check("resolved and its stub start beside hitherd", done.returncode == 0 and prop("hitherd.socket", "ActiveState") == "active", done.stderr)
    path = pathlib.Path("/etc/resolv.conf")
    path.unlink()
    path.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    check("both answer at port 53", "198.51.100." in dig("@127.0.0.1", "+short", "beside.load.test").stdout)
    check("doctor reports that programs do not ask hitherd", state("resolv.conf") in ("problem", "warning"), findings()[0].get("resolv.conf"))
    fix("resolv.conf")
    queries = stats()["queries"]
    answer = until(lambda: (out := dig("@127.0.0.53", "+short", "through.load.test").stdout) and "198.51.100." in out and out)
    check("resolved forwards to hitherd", answer and stats()["queries"] > queries, answer)
    # hitherd now follows the system's resolvers, and resolved names hitherd among them.
    pathlib.Path("/etc/hither/hither.toml.d/10.toml").unlink()
    run("systemctl", "reload", "hitherd.service")
    status = json.loads(ctl("status", "--json").stdout)
    check("without configured upstreams there is no loop", not [u for u in status["upstreams"] if u["address"].startswith("127.")], status["upstreams"])
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    run("systemctl", "reload", "hitherd.service")
    pathlib.Path("/etc/systemd/resolved.conf.d/stub.conf").write_text("[Resolve]\nDNSStubListener=no\n")
    run("systemctl", "restart", "systemd-resolved.service")
    resolve_by("nameserver 127.0.0.1\n")
    check("doctor finds no problem if resolved has no stub", until(lambda: findings()[1] == 0), findings()[0])
    check("hitherd answers without the stub", "198.51.100." in dig("+short", "without-stub.load.test").stdout)


def all_addresses():
    """hitherd at the wildcard address, which is free only if resolved has no stub."""
    path = drop_in("hitherd.socket", "[Socket]\nListenDatagram=\nListenDatagram=0.0.0.0:53\nListenStream=0.0.0.0:53\n")
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    done = run("systemctl", "start", "hitherd.socket")
    check("beside a resolved without a stub hitherd.socket can use the wildcard address", done.returncode == 0, done.stderr)
    check("a reply comes from the address that the query was sent to", "198.51.100." in dig("@192.0.2.10", "+short", "wildcard.load.test").stdout or "REFUSED" in dig("@192.0.2.10", "wildcard.load.test").stdout)
    path.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    run("systemctl", "start", "hitherd.socket")


main(prepare, start, taken, nss, ping, resolved, all_addresses)
