"""The sandbox: each hardening directive of all services, probed from inside, and the scrapes of the metrics socket. Each probe also runs without the sandbox, to show that a denial is
the effect of the directive and not of the container. Directives without a probe are listed with the reason."""
import http.client, json, os, pathlib, re, shutil, socket, struct, time

from common import OFF, SITE, UNITS, check, configure, journal, main, prepare, prop, run, skip, until, version

# Directives without a probe, and why.
UNTRIED = {
    "AmbientCapabilities": "the same probe as CapabilityBoundingSet=",
    "DevicePolicy": "PrivateDevices= leaves nothing else to open",
    "KeyringMode": "no other process's keyring is reachable once keyctl is filtered",
    "MemoryMax": "the container has no memory controller",
    "TasksMax": "the container has no pids controller",
    "ProtectKernelLogs": "the container hides the kernel's log anyway",
    "ProtectClock": "the container has no right to set the clock anyway",
    "ProtectKernelModules": "the container has no right to load modules anyway",
    "PrivateMounts": "what a service mounts is its own; it may not mount at all",
    "RemoveIPC": "a probe would need a second process of the user; nothing of it lives in /dev/shm",
    "SystemCallErrorNumber": "shown by the errors of SystemCallFilter=",
    "ExecPaths": "the exceptions of NoExecPaths=, without which nothing would run",
    "OOMPolicy": "no memory controller", "OOMScoreAdjust": "read from the process itself", "Nice": "lowers the process's own standing",
}
# What a directive leaves to a unit: engines of a site may be there.
LEFT = {"hither-site.service": [f"IPAddressDeny: sends to {where}" for where in (
    "this host", "a private network", "a private network by NAT64", "a private network by 6to4", "a site")]}
# Directives that are not hardening.
OTHER = set("""Type NotifyAccess ExecCondition ExecStart ExecReload Sockets Restart RestartSec RestartSteps RestartMaxDelaySec TimeoutStartSec TimeoutStopSec
WatchdogSec User Group RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve ReadWritePaths LoadCredential
Environment DynamicUser SupplementaryGroups StandardInput StandardOutput StandardError LogLevelMax SyslogLevel RuntimeMaxSec""".split())


def directives(unit):
    text = pathlib.Path(f"/usr/lib/systemd/system/{unit}").read_text()
    body = text.split("[Service]")[1].split("[Install]")[0]
    return [line.split("=")[0] for line in body.splitlines() if re.match("[A-Za-z]+=", line)], body


# A 32-bit program: getpid by int 0x80, then exit 0.
CODE = bytes.fromhex("b814000000cd8031dbb801000000cd80")
ELF = b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0) + \
    struct.pack("<8I", 1, 0, 0x8048000, 0x8048000, 84 + len(CODE), 84 + len(CODE), 5, 4096) + CODE


def scene():
    """Creates the files and addresses that the probes try to reach."""
    for path in ("/home/probe", "/var/lib/probe"):
        os.makedirs(path, exist_ok=True)
    for path in ("/home/probe/file", "/tmp/probe-file", "/dev/probe-file", "/etc/probe-owned"):
        pathlib.Path(path).write_text("x")
    os.chown("/etc/probe-owned", 12345, 12345)
    os.chmod("/var/lib/probe", 0o777)
    shutil.copy("/usr/bin/id", "/usr/bin/probe-id")
    os.chmod("/usr/bin/probe-id", 0o4755)
    pathlib.Path("/usr/bin/probe-32").write_bytes(ELF)
    os.chmod("/usr/bin/probe-32", 0o755)
    for address in ("10.1.2.3", "169.254.1.2"):
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
    for address in ("64:ff9b::10.1.2.3", "2002:a01:203::1", "fec0::1"):
        run("ip", "address", "add", f"{address}/128", "dev", "lo")


def probe(unit, sandboxed):
    """Runs the probes in a service like `unit`, with or without its hardening, and returns their results."""
    _, body = directives(unit)
    kept = [line for line in body.splitlines() if re.match("[A-Za-z]+=", line) and line.split("=")[0] not in OTHER - {"User", "Group"}]
    if not sandboxed:
        kept = [line for line in kept if line.split("=")[0] in ("User", "Group")]
    if "DynamicUser=yes" in body:
        # It implies a part of the sandbox, which would hide what the directives do.
        kept.append("User=hither")
    out, err = pathlib.Path("/run/probe.out"), pathlib.Path("/run/probe.err")
    name = f"probe-{'in' if sandboxed else 'out'}-{unit.replace('@', '')}"
    namespaces = [f"Environment=HOST_{kind.upper()}={os.stat(f'/proc/1/ns/{kind}').st_ino}" for kind in ("ipc", "net", "uts")]
    pathlib.Path(f"/run/systemd/system/{name}").write_text("\n".join([
        "[Service]", "Type=oneshot", "ExecStart=/usr/bin/python3 -B /src/systemd/probes.py", f"StandardOutput=truncate:{out}",
        f"StandardError=truncate:{err}", "LimitRTPRIO=10", *namespaces, *kept, *(["ExecPaths=/usr/bin"] if sandboxed else [])]) + "\n")
    run("systemctl", "daemon-reload")
    done = run("systemctl", "start", name)
    text = out.read_text() if out.exists() else ""
    if not check(f"probes run for {unit}, {'with' if sandboxed else 'without'} its sandbox", done.returncode == 0 and text, done.stderr + (err.read_text() if err.exists() else "")):
        return {}
    return json.loads(text)


def hardening(unit):
    before, after = probe(unit, False), probe(unit, True)
    listed, tried = directives(unit)[0], set()
    for what in before:
        directive = what.split(":")[0]
        if directive not in listed:
            continue
        tried.add(directive)
        found = after.get(what, "allowed")
        if what in LEFT.get(unit, []):
            check(f"{unit}, {what}: as without the sandbox", found == before[what], found)
        elif directive == "SocketBindDeny" and found == "allowed" and version() < 253:
            skip(f"{unit}: {what}", "Debian 12 builds systemd without it")
        elif found == before[what] != "allowed":
            skip(f"{unit}: {what}", f"met without the sandbox too: {found}")
        else:
            check(f"{unit}, {what}: denied", found != "allowed", found)
    left = set(listed) - tried - OTHER - set(UNTRIED)
    check(f"{unit}: every hardening directive has a probe or a reason", not left, sorted(left))


def daemon():
    hardening("hitherd.service")


def sorter():
    hardening("hither-sorter.service")


def site():
    hardening("hither-site.service")


def metrics_service():
    hardening("hither-metrics@.service")


def verify():
    done = run("systemd-analyze", "verify", "--man=no", *UNITS, *SITE, *OFF)
    check(f"systemd-analyze verify is clean on {version()}", done.returncode == 0 and not [line for line in done.stderr.splitlines() if "hither" in line], done.stderr)
    for unit in ("hitherd.service", "hither-sorter.service", "hither-site.service", "hither-metrics@1.service"):
        out = run("systemd-analyze", "security", "--no-pager", unit).stdout
        score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", out)
        check(f"exposure of {unit} is at most 1.1", score is not None and float(score[1]) <= 1.1, out[-300:])
        print(f"        {unit}: exposure {score[1] if score else '?'} on systemd {version()}")


def process():
    run("systemctl", "start", "hitherd.service", "hither-sorter.service")
    for unit in ("hitherd.service", "hither-sorter.service"):
        pid = prop(unit, "MainPID")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        check(f"{unit}: no capability, no new privileges, a filter", all(re.search(p, status, re.M) for p in (r"^CapEff:\s+0+$", r"^CapBnd:\s+0+$", r"^NoNewPrivs:\s+1$", r"^Seccomp:\s+2$", r"^Umask:\s+0077$")), status)
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        wanted = re.search(r"^OOMScoreAdjust=(.*)$", directives(unit)[1], re.M)[1]
        adjusted = pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
        if run("sh", "-c", f"echo {wanted} > /proc/self/oom_score_adj").returncode == 0:
            check(f"{unit}: it has its OOM score adjustment", adjusted == wanted, (adjusted, wanted))
        else:
            skip(f"{unit}: it has its OOM score adjustment", "this machine does not permit the value")
        check(f"{unit}: no core dump", re.search(r"^Max core file size\s+0\s+0", limits, re.M) is not None, limits)
        text = run("journalctl", "-b", "-u", unit, "-o", "cat").stdout
        check(f"{unit}: the journal has no refused operation", "Operation not permitted" not in text and "Permission denied" not in text, text)


def scrape(path="/metrics", **fields):
    """The status and the text of a response of the metrics socket."""
    client = http.client.HTTPConnection("127.0.0.1", 9953, timeout=20)
    client.request("GET", path, headers=fields)
    response = client.getresponse()
    return response.status, response.read().decode()


def scrapes():
    check("the metrics socket is off", prop("hither-metrics.socket", "UnitFileState") == "disabled" and prop("hither-metrics.socket", "ActiveState") == "inactive")
    done = run("systemctl", "enable", "--now", "hither-metrics.socket")
    check("it can be enabled", done.returncode == 0, done.stderr)
    status, text = scrape()
    check("a scrape gets the metrics", status == 200 and "\nhither_up 1\n" in text and "hither_publishes_total" in text, (status, text[:300], journal("hither-metrics@*")))
    status, text = scrape(Accept="application/openmetrics-text; version=1.0.0")
    check("OpenMetrics for those who ask for it", status == 200 and text.endswith("# EOF\n"), text[-100:])
    check("nothing else is served", scrape("/")[0] == 404)
    times = []
    for _ in range(20):
        begin = time.monotonic()
        scrape()
        times.append((time.monotonic() - begin) * 1000)
    print(f"        a scrape takes {sorted(times)[10]:.1f} ms in the middle, {min(times):.1f} ms at least, {max(times):.1f} ms at most")
    left = lambda: run("systemctl", "list-units", "--all", "--no-legend", "--plain", "hither-metrics@*").stdout
    check("no instance is left behind", until(lambda: not left()), left())
    check("the journal has no lines about scrapes", journal("hither-metrics@*") == "", journal("hither-metrics@*"))
    for mode, wanted in (("0640", 200), ("0600", 503)):
        configure("20", f'[table]\nmode = "{mode}"\n')
        run("systemctl", "restart", "hitherd.service")
        status, text = scrape()
        check(f"with table.mode {mode} a scrape gets status {wanted}", status == wanted, (status, text[:300]))
    check("and the journal has the reason", until(lambda: "Permission denied" in journal("hither-metrics@*")), journal("hither-metrics@*"))
    configure("20", "").unlink()
    # More clients than may be served at once, none of which says anything.
    silent = [socket.create_connection(("127.0.0.1", 9953)) for _ in range(40)]
    check("clients that say nothing do not close the socket", until(lambda: prop("hither-metrics.socket", "NAccepted") > "0") and prop("hither-metrics.socket", "ActiveState") == "active")
    check("there are at most 16 processes for them", int(prop("hither-metrics.socket", "NConnections")) <= 16, prop("hither-metrics.socket", "NConnections"))
    check("they are let go", until(lambda: prop("hither-metrics.socket", "NConnections") == "0", 20), left())
    [one.close() for one in silent]
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    status, text = scrape()
    check("a stopped hitherd is down", status == 200 and "\nhither_up 0\n" in text, (status, text[:300]))
    failed = run("systemctl", "--failed", "--no-legend", "--plain").stdout
    check("no scrape has failed", "hither-metrics" not in failed, failed)
    run("systemctl", "disable", "--now", "hither-metrics.socket")


main(prepare, verify, process, scene, daemon, sorter, site, metrics_service, scrapes)
