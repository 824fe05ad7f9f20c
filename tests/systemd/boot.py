"""Boots of the container. A lookup before there is a network, or during the shutdown, is answered or fails at once, as it would without hither. The
same holds with a wrong configuration and with a full /run. Each part ends with a reboot; the number of the next part is kept in a file."""
import json, os, pathlib, re, signal, subprocess, sys, time

import common
from common import UNITS, check, configure, ctl, dig, drop_in, journal, main, prepare, prop, resolve_by, run, skip, until

STATE = pathlib.Path("/var/lib/boot-check")
UNIT = pathlib.Path("/etc/systemd/system")
# Services that look names up before there is a network, like nftables, cloud-init and hooks of ifupdown. The boot waits for them.
EARLY = {
    "network": "Wants=network.target\nBefore=network.target\n",
    "network-pre": "DefaultDependencies=no\nWants=network-pre.target\nBefore=network-pre.target\nAfter=boot-upstream.service\n",
    "basic": "DefaultDependencies=no\nAfter=sockets.target\nBefore=basic.target\n",
    "sysinit": "DefaultDependencies=no\nAfter=boot-upstream.service\nBefore=sysinit.target\n",
}
# glibc takes 10 s for a lookup without an answer, and some milliseconds for an answered one.
QUICK = 1.5


def lookup(name):
    """Looks a name up through glibc, as programs do. Returns the seconds that it took, and the result."""
    import socket
    began = time.monotonic()
    try:
        found = sorted({address[4][0] for address in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except OSError as error:
        found = str(error)
    return {"took": round(time.monotonic() - began, 3), "found": found}


def probe(name):
    # Each boot looks up another name, since the saved cache outlives a boot.
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    (STATE / f"{name}.json").write_text(json.dumps(lookup(f"{name}-{boot}.load.test")))


def seen(name):
    path = STATE / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"took": 999, "found": "it did not run"}


def units():
    me = "/usr/bin/python3 -B /src/systemd/boot.py"
    for name, ordering in EARLY.items():
        (UNIT / f"early-{name}.service").write_text(f"[Unit]\n{ordering}[Service]\nType=oneshot\nExecStart={me} probe {name}\n[Install]\nWantedBy=multi-user.target\n")
    # A name server that runs before the first lookup, and a service that looks a name up when it is stopped, without an ordering after hither.
    (UNIT / "boot-upstream.service").write_text(f"[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nNotifyAccess=all\nExecStart={me} upstream\n[Install]\nWantedBy=multi-user.target\n")
    (UNIT / "late-stop.service").write_text(f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecStop={me} probe stop\n[Install]\nWantedBy=multi-user.target\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "boot-upstream.service", "late-stop.service", *(f"early-{name}.service" for name in EARLY))


def upstream():
    from upstream import serve
    run("ip", "link", "set", "lo", "up")
    serve(5300)
    run("systemd-notify", "--ready")
    signal.pause()


def boot_time():
    """Seconds from the start of the first process to multi-user.target."""
    stamp = lambda unit, name: int(prop(unit, name) or 0)
    value = run("systemctl", "show", "-p", "UserspaceTimestampMonotonic", "--value").stdout.strip()
    return (stamp("multi-user.target", "ActiveEnterTimestampMonotonic") - int(value)) / 1e6


def sane():
    text = run("journalctl", "-b", "-o", "cat", "--no-pager").stdout
    check("no ordering cycle", "ordering cycle" not in text, [line for line in text.splitlines() if "cycle" in line])
    done = run("systemd-analyze", "verify", "--man=no", *UNITS, "default.target")
    lines = [line for line in done.stderr.splitlines() if "hither" in line or "cycle" in line]
    check("systemd-analyze verify is clean", done.returncode == 0 and not lines, done.stderr)


def early(answered, names=tuple(EARLY)):
    for name in names:
        one = seen(name)
        print(f"        a lookup before {name}: {one['took']:.3f} s, {one['found']}")
        check(f"a lookup before {name} does not wait", one["took"] < QUICK, one)
        check(f"the lookup before {name} {'is answered' if answered else 'fails at once'}", isinstance(one["found"], list) == answered, one)


def remember(**values):
    path = STATE / "memory"
    known = json.loads(path.read_text()) if path.exists() else {}
    if values:
        path.write_text(json.dumps(known | values))
    return known | values


def install():
    """Prepares the first boot, which is measured without hither."""
    units()
    resolve_by("nameserver 127.0.0.1\n")


def without():
    took = boot_time()
    slowest = max(seen(name)["took"] for name in EARLY)
    print(f"        boot without hither: {took:.3f} s, slowest early lookup {slowest:.3f} s")
    remember(without=took, without_lookup=slowest)
    prepare()
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')


def answered():
    took, before = boot_time(), remember()
    slowest = max(seen(name)["took"] for name in EARLY)
    print(f"        boot with hither: {took:.3f} s, without {before['without']:.3f} s; slowest early lookup {slowest:.3f} s, without {before['without_lookup']:.3f} s")
    early(True)
    check("the boot takes no longer than without hither, within the noise of the machine", took < before["without"] + QUICK, (took, before))
    sane()
    check("hitherd runs", prop("hitherd.service", "ActiveState") == "active")
    # An upstream that cannot be reached, since lo is the only link.
    configure("10", '[[upstream]]\naddress = "192.0.2.53:5300"\n')


def no_network():
    one = seen("stop")
    print(f"        a lookup while the host went down: {one['took']:.3f} s, {one['found']}")
    check("a lookup during the shutdown is answered", one["took"] < QUICK and isinstance(one["found"], list), one)
    early(False)
    sane()
    from upstream import serve
    for command in ("ip link add v0 type veth peer name v1", "ip link set v0 up", "ip link set v1 up", "ip address add 192.0.2.53/24 dev v0"):
        run(*command.split())
    serve(5300, "192.0.2.53")
    began = time.monotonic()
    check("names are found as soon as there is a network", until(lambda: "198.51.100." in dig("@127.0.0.1", "+short", "network.load.test").stdout, 5))
    print(f"        {time.monotonic() - began:.3f} s after the network had come")
    configure("10", "")


def no_upstream():
    """No upstream is configured, and the system names only hitherd."""
    early(False)
    check("hitherd runs", prop("hitherd.service", "ActiveState") == "active")


    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    configure("30", "[cache]\nmax_tll = \"1h\"\n")


def wrong_configuration():
    early(False)
    sane()
    check("hitherd answers although its configuration is invalid", prop("hitherd.service", "ActiveState") == "active" and "invalid" in ctl("status").stdout, ctl("status").stdout)
    pathlib.Path("/etc/hither/hither.toml.d/30.toml").unlink()
    found = lambda: "198.51.100." in dig("@127.0.0.1", "+short", "mended.load.test").stdout
    check("hitherd uses the configuration once it is valid", until(found), ctl("status").stdout)


def renamed():
    """The host name is changed, by hostname and by hostnamectl, with and without /etc/hostname."""
    run("ip", "address", "add", "192.0.2.10/24", "dev", "lo")
    check("the host name has the host's address", until(lambda: "192.0.2.10" in own(run("hostname").stdout.strip())))
    before = run("hostname").stdout.strip()
    for name in ("alpha", "Beta.Example.NET", "gamma-2"):
        began = time.monotonic()
        run("hostname", name)
        seen = until(lambda: "192.0.2.10" in own(name), 5)
        took = time.monotonic() - began
        print(f"        the host is called {name}: in force after {took:.3f} s")
        check(f"the new host name {name} is found", seen and took < 2, (seen, took))
        check("its first label is found too, in any letter case", "192.0.2.10" in own(name.split(".")[0].upper()))
        check("the previous host name is not found any more", "192.0.2.10" not in own(before), own(before))
        pointer = dig("@127.0.0.1", "+short", "-x", "192.0.2.10").stdout.strip()
        check("the PTR of the address is the new name", pointer == name.lower() + ".", pointer)
        before = name
    pathlib.Path("/etc/hostname").write_text("delta\n")
    done = run("systemctl", "restart", "systemd-hostnamed.service")
    done = run("hostnamectl", "set-hostname", "epsilon")
    if done.returncode:
        skip("hostnamectl", done.stderr.strip())
    else:
        check("a name set by hostnamectl is found", until(lambda: "192.0.2.10" in own("epsilon"), 5), own("epsilon"))
    # A host name that cannot be queried for gets no address.
    run("hostname", "localhost")
    check("without a host name, localhost keeps its address", until(lambda: "192.0.2.10" not in own("epsilon")) and own("localhost") == "127.0.0.1", own("localhost"))


def own(name):
    return dig("@127.0.0.1", "+short", name, "A").stdout.strip()


PARTS = [install, without, answered, no_network, no_upstream, wrong_configuration, renamed]


def parts():
    STATE.mkdir(exist_ok=True)
    progress = STATE / "progress"
    at, failed = json.loads(progress.read_text()) if progress.exists() else (0, [])
    common.failed.extend(failed)
    print(f"    {PARTS[at].__name__}", flush=True)
    try:
        PARTS[at]()
    except Exception as error:
        check(PARTS[at].__name__, False, repr(error))
    # The last parts need no boot between them.
    if PARTS[at] is wrong_configuration:
        at += 1
        print(f"    {PARTS[at].__name__}", flush=True)
        PARTS[at]()
    if at + 1 == len(PARTS):
        main()
    for path in STATE.glob("*.json"):
        path.unlink()
    progress.write_text(json.dumps((at + 1, common.failed)))
    sys.stdout.flush()
    run("systemctl", "reboot")
    # Runs until the container ends.
    signal.pause()


if sys.argv[1:2] == ["probe"]:
    probe(sys.argv[2])
elif sys.argv[1:] == ["upstream"]:
    upstream()
elif sys.argv[1:2] == ["lookup"]:
    print(json.dumps(lookup(sys.argv[2])))
else:
    parts()
