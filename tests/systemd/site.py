"""The package hither-site with a real Valkey or Redis server: hither without it, installed beside a daemon that runs, without an engine, with one,
its credentials, its sandbox, faults, an upgrade under load, the removal. The access list of the engine is that of the manual page."""
import gzip, json, os, pathlib, re, shutil, signal, subprocess, time

from common import SITE, UNITS, check, configure, ctl, drop_in, journal, main, prop, run, stats, until, version
from installing import DEBS, answered, deb, dpkg, files, leftovers, under_load

# An address of this machine that is not of the loopback network, so that a key is needed.
ADDRESS, PORT = "10.9.0.1", 6379
PASSWORD, STORE = "pass-word-of-the-site", pathlib.Path("/etc/credstore")
SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
CLIENT = shutil.which("valkey-cli") or shutil.which("redis-cli")
engine = None


def site():
    """What the daemon says of its companion."""
    return json.loads(ctl("status", "--json").stdout or "{}").get("site") or {}


def state(wanted):
    """Waits until the companion is connected to the daemon, and the engine in this state."""
    return until(lambda: site().get("connected") and site().get("state") == wanted)


def cli(*words):
    return run(CLIENT, "-h", ADDRESS, "-p", str(PORT), "--no-auth-warning", "-a", "operator", *words).stdout


def manual():
    """The rules of the engine's user, as hither-site(8) has them."""
    page = gzip.open("/usr/share/man/man8/hither-site.8.gz", "rt").read()
    return re.search(r"^ACL SETUSER hither (.*)$", page, re.M)[1].replace("\\(ti", "~").replace("\\&", "")


def start_engine():
    global engine
    engine = subprocess.Popen([SERVER, "--port", str(PORT), "--bind", ADDRESS, "--save", "", "--appendonly", "no", "--requirepass", "operator"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    check("the engine runs", until(lambda: "PONG" in cli("PING")))
    rules = manual().replace("PASSWORD", PASSWORD)
    done = cli("ACL", "SETUSER", "hither", *rules.split())
    check("the engine takes the access list of the manual page", done.strip() == "OK", (rules, done))


def stop_engine():
    engine.send_signal(signal.SIGKILL)
    engine.wait()


def secret(name, text):
    STORE.mkdir(mode=0o700, exist_ok=True)
    (STORE / name).write_text(text)
    (STORE / name).chmod(0o600)


def restart():
    done = run("systemctl", "restart", "hitherd.service")
    check("hitherd restarts", done.returncode == 0, done.stderr)


def start():
    from upstream import serve
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    check("the container has no file of hither", leftovers() == [], leftovers())
    check("the container has an engine", SERVER and CLIENT, (SERVER, CLIENT))
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')


def without():
    """hither without the package hither-site."""
    dpkg("-i", deb("hither"))
    check("hither alone answers", answered())
    brought = [path for path in files("hither") if "site" in os.path.basename(path)]
    check("it has no file of the companion", brought == [], brought)
    check("systemd knows no unit of the companion", [prop(unit, "LoadState") for unit in SITE] == ["not-found"] * 2)
    check("the status is complete", ctl("status").returncode == 0 and not site().get("connected"), site())
    configure("20", f'[site]\nengine = "valkey://{ADDRESS}:{PORT}"\nask = true\n')
    restart()
    check("an engine in the configuration changes nothing for clients", answered("second.load.test"))
    configure("20", "").unlink()
    restart()


def install():
    """Beside a daemon that runs and answers."""
    before = prop("hitherd.service", "MainPID")
    under_load(lambda: dpkg("-i", deb("hither-site")), ["hitherd.service", "hither-sorter.service"])
    check("the daemon was restarted once", prop("hitherd.service", "NRestarts") == "0" and prop("hitherd.service", "MainPID") != before)
    brought = sorted(os.path.basename(path) for path in files("hither-site") if "/systemd/system/" in path)
    check("the package has its units", brought == sorted(SITE), brought)
    for unit in SITE:
        check(f"{unit} is enabled", prop(unit, "UnitFileState") == "enabled", prop(unit, "UnitFileState"))
    check("its socket is open", prop(SITE[0], "ActiveState") == "active" and os.path.exists("/run/hitherd/site.sock"))
    mode = os.stat("/run/hitherd/site.sock")
    check("the socket is for the user of the companion", mode.st_mode & 0o777 == 0o660 and mode.st_gid == int(run("id", "-g", "hither-site").stdout), oct(mode.st_mode))
    check("without an engine no process runs", prop(SITE[1], "ActiveState") == "inactive", prop(SITE[1], "ActiveState"))
    check("no unit has failed", "hither" not in run("systemctl", "--failed", "--no-legend", "--plain").stdout)
    before = prop("hitherd.service", "MainPID")
    dpkg("-i", deb("hither-site"))
    check("a second installation restarts nothing", prop("hitherd.service", "MainPID") == before)


def key():
    """An engine elsewhere needs a key."""
    start_engine()
    configure("20", f'[site]\nengine = "valkey://hither@{ADDRESS}:{PORT}"\nask = true\nttl_floor = "1s"\n')
    secret("site.password", PASSWORD + "\n")
    restart()
    check("a restart of hitherd starts the companion", until(lambda: prop(SITE[1], "ActiveState") == "active"))
    check("without a key the engine is refused", state("refused"), site())
    check("the status names the key", "site.key" in (site().get("problem") or ""), site())
    secret("site.key", "k" * 32 + "\n")
    done = run("systemctl", "restart", SITE[1])
    check("with the key it is up", done.returncode == 0 and state("up"), (site(), done.stderr, journal(SITE[1])[-600:]))


def shares():
    check("a name is answered", answered("shared.example.com"))
    keys = until(lambda: [key for key in cli("--scan").split() if "shared.example.com" in key])
    check("the engine has it", keys == ["{hither}:a:shared.example.com."] or keys == ["{hither}:a:shared.example.com"], cli("--scan"))
    left = int(cli("PTTL", keys[0] if keys else "none") or -2)
    check("the engine forgets it with its TTL", 0 < left <= 3_600_000, left)
    check("the status counts it", until(lambda: site().get("written", 0) >= 1), site())
    cli("PUBLISH", "{hither}:sets", "no entry")
    check("what is no entry is refused and counted", until(lambda: sum(site()["refused"].values()) >= 1), site())


def another_host():
    """The same machine under another name finds what the site knows, with an upstream that is gone."""
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    unit = drop_in(SITE[1], "[Service]\nExecStart=\nExecStart=/usr/libexec/hither-site --host another\n")
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5399"\n')
    configure("30", '[cache]\nsave = "0s"\n')
    run("rm", "-rf", "/var/lib/hither")
    done = run("systemctl", "start", "hitherd.socket", "hitherd.service")
    check("it starts", done.returncode == 0 and state("up"), (done.stderr, site()))
    check("a name that another host has asked is answered without an upstream", until(lambda: answered("shared.example.com")), (site(), stats()))
    told = json.loads(ctl("query", "--json", "shared.example.com").stdout or "{}")
    check("the answer comes from the site", told.get("source") == "site", told)
    check("a name that nobody has asked is not", not answered("unknown.example.com"))
    done = ctl("flush", "--site")
    check("flush --site voids it", done.returncode == 0 and not answered("shared.example.com"), done.stdout + done.stderr)
    unit.unlink()
    run("systemctl", "daemon-reload")
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    configure("30", "").unlink()
    restart()
    check("the site is up again", state("up"), site())


def sandbox():
    pid = prop(SITE[1], "MainPID")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    check("no capability, no new privileges, a filter", all(re.search(p, status, re.M) for p in (r"^CapEff:\s+0+$", r"^CapBnd:\s+0+$", r"^NoNewPrivs:\s+1$", r"^Seccomp:\s+2$", r"^Umask:\s+0077$")), status)
    check("it runs as its own user", re.search(r"^Uid:\s+(\d+)", status, re.M)[1] == run("id", "-u", "hither-site").stdout.strip(), status)
    memory = int(re.search(r"^RssAnon:\s+(\d+)", status, re.M)[1])
    print(f"        {memory} KiB of its own memory, {re.search(r'^VmRSS:.*', status, re.M)[0]}")
    check("its memory is below 16 MiB", memory <= 16 * 1024, status)
    score = {unit: float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", run("systemd-analyze", "security", "--no-pager", unit).stdout)[1])
             for unit in (SITE[1], "hither-sorter.service")}
    check("its exposure is at most that of the sorter", score[SITE[1]] <= score["hither-sorter.service"], score)
    text = journal(SITE[1])
    check("the journal has no refused operation", "Operation not permitted" not in text and "Permission denied" not in text, text[-600:])


def encrypted():
    """A credential that systemd decrypts."""
    (STORE / "site.password").unlink()
    folder = pathlib.Path("/etc/credstore.encrypted")
    folder.mkdir(mode=0o700, exist_ok=True)
    run("systemd-creds", "setup")
    done = run("systemd-creds", "encrypt", "--with-key=host", "--name=site.password", "-", str(folder / "site.password"), input=PASSWORD)
    check("the password is encrypted", done.returncode == 0, done.stderr)
    # From version 254 on the generator has it found without a line.
    unit = drop_in(SITE[1], "[Service]\nLoadCredentialEncrypted=site.password\n") if version() < 254 else None
    run("systemctl", "restart", SITE[1])
    check("the companion logs in with an encrypted password", state("up"), (site(), journal(SITE[1])[-600:]))
    if unit:
        unit.unlink()
        run("systemctl", "daemon-reload")
    (folder / "site.password").unlink()
    secret("site.password", PASSWORD)
    run("systemctl", "restart", SITE[1])
    check("and with a plain one", state("up"), site())


def faults():
    stop_engine()
    check("the status says that the engine is gone", until(lambda: site().get("connected") and site().get("state") != "up"), site())
    begin = time.monotonic()
    check("names are answered without the engine", all(answered(f"gone-{n}.example.com") for n in range(20)))
    print(f"        {(time.monotonic() - begin) / 20 * 1000:.1f} ms a query, with dig, while the engine is gone")
    start_engine()
    check("the engine is found again", until(lambda: site().get("state") == "up", 45), site())
    check("and written to", answered("back.example.com") and until(lambda: "back.example.com" in cli("--scan")), cli("--scan"))
    before = prop(SITE[1], "MainPID")
    os.kill(int(before), signal.SIGKILL)
    check("names are answered without the companion", answered("killed.example.com"))
    check("a killed companion is started again", until(lambda: prop(SITE[1], "MainPID") not in ("0", before)) and state("up"), site())
    daemon = prop("hitherd.service", "MainPID")
    os.kill(int(daemon), signal.SIGKILL)
    check("after a crash of hitherd both are back", until(lambda: prop("hitherd.service", "MainPID") not in ("0", daemon)) and state("up"), site())


def upgrade():
    under_load(lambda: dpkg("-i", deb("hither", DEBS / "next"), deb("hither-site", DEBS / "next")), [unit for unit in UNITS + SITE if unit.endswith(".service")])
    check("dpkg reports the new version", run("dpkg-query", "-f", "${Version}", "-W", "hither-site").stdout.endswith("+next"))
    check("the site is up after the upgrade", state("up"), site())


def remove():
    gone = files("hither-site")
    before = prop("hitherd.service", "MainPID")
    dpkg("-r", "hither-site")
    check("its files are gone", not [path for path in gone if os.path.lexists(path)], gone)
    check("its units are gone", [prop(unit, "ActiveState") for unit in SITE] == ["inactive"] * 2 and not os.path.exists("/run/hitherd/site.sock"))
    check("hitherd runs on and answers", prop("hitherd.service", "MainPID") == before and answered("removed.load.test"))
    check("the status has no companion", until(lambda: not site().get("connected")), site())
    dpkg("-P", "hither-site")
    left = run("systemctl", "list-unit-files", "--no-legend", "hither*site*").stdout + "".join(path for path in leftovers() if "site" in path)
    check("nothing is left of the package", left == "", left)
    restart()
    check("hitherd restarts without it", answered("restarted.load.test"))
    for name in ("10", "20"):
        configure(name, "").unlink()
    dpkg("-P", "hither")
    check("no file of hither is left", leftovers() == [], leftovers())
    stop_engine()


main(start, without, install, key, shares, another_host, sandbox, encrypted, faults, upgrade, remove)
