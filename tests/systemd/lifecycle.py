"""The service under load: restart, crash, watchdog, upgrade of the program, reload, crash loop, stop. Nothing is lost."""
import json, os, pathlib, shutil, signal, subprocess, sys, threading, time

from common import check, configure, ctl, dig, drop_in, journal, lookup, main, prepare, prop, resolve_by, run, stats, until, version

RATE, SECONDS = 1000, 10


def start():
    from upstream import serve
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    for at in range(100):
        answer = dig("@127.0.0.1", "+short", f"c{at}.load.test")
        if "198.51.100." not in answer.stdout:
            return check("the cache is filled", False, answer.stdout + answer.stderr)
    check("the cache is filled", stats()["entries"] >= 100)


def entries():
    found = [json.loads(line) for line in ctl("dump", "--json").stdout.splitlines()]
    return {entry["name"]: entry["version"] for entry in found if entry["type"] == "A"}


def under_load(what, act, fresh=0, worst_ms=3000, may_lose=0, seconds=SECONDS):
    """Runs `act` twice during a load, while another process reads the table. On an idle machine the slowest reply takes some 300 ms. The bound allows
    for a busy one."""
    before = entries()
    queries = stats()["queries"]
    reader = subprocess.Popen([sys.executable, "/src/systemd/reading.py", "100"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    load = subprocess.Popen([sys.executable, "/src/systemd/load.py", str(RATE), str(seconds), str(fresh)], stdout=subprocess.PIPE, text=True)
    until(lambda: stats()["queries"] > queries + RATE)
    act()
    # Again during the load. A new daemon counts from zero.
    queries = stats()["queries"]
    until(lambda: stats()["queries"] > queries + RATE * seconds / 4)
    act()
    found = json.loads(load.communicate(timeout=60)[0])
    seen = json.loads(reader.communicate("", timeout=60)[0])
    print(f"        {what}: {json.dumps(found)} readers: {json.dumps(seen)}", flush=True)
    check(f"{what} loses {f'at most {may_lose}' if may_lose else 'no query'}", found["lost"] <= may_lose and found["answered"] > RATE, found)
    check(f"{what} fails no query", found["failed"] == 0 and found["refused"] == 0, found)
    check(f"{what}: the slowest reply is within its bound", found["worst_ms"] < worst_ms, found)
    check(f"{what}: readers see no error and no lower version", seen["reads"] > 1000 and not seen["errors"] and not seen["lower"], seen)
    after = entries()
    gone = [name for name in before if name not in after or after[name] < before[name]]
    check(f"{what} keeps every entry", not gone, gone[:5])


def pid():
    return int(prop("hitherd.service", "MainPID"))


def kill(number):
    def act():
        old = pid()
        os.kill(old, number)
        check(f"a daemon killed by {number.name} is replaced", until(lambda: pid() not in (0, old) and prop("hitherd.service", "ActiveState") == "active"))
    return act


def restart():
    done = run("systemctl", "restart", "hitherd.service")
    check("restart returns with success", done.returncode == 0, done.stderr)


def upgrade():
    """Replaces the program and restarts the service, as a package does."""
    new = pathlib.Path("/usr/sbin/hitherd.new")
    shutil.copy("/usr/sbin/hitherd", new)
    with new.open("ab") as file:
        file.write(b"another build")
    new.replace("/usr/sbin/hitherd")
    done = run("systemctl", "try-restart", "hitherd.service")
    check("try-restart returns with success", done.returncode == 0, done.stderr)
    check("the new file runs", os.stat(f"/proc/{pid()}/exe").st_ino == os.stat("/usr/sbin/hitherd").st_ino)


def reload():
    for ttl in ("1h", "1d"):
        configure("20", f'[cache]\nmax_ttl = "{ttl}"\n')
        done = run("systemctl", "reload", "hitherd.service")
        check("reload returns with success", done.returncode == 0, done.stderr)


def load():
    under_load("restart", restart, fresh=50)
    under_load("reload", reload, fresh=50)
    under_load("upgrade", upgrade, fresh=50)
    # A killed daemon loses the queries that it had received and not answered: at this rate one, and one that waits for an upstream.
    under_load("a crash (SIGKILL)", kill(signal.SIGKILL), fresh=50, may_lose=2)
    under_load("a crash (SIGABRT)", kill(signal.SIGABRT), fresh=50, may_lose=2, seconds=6)
    hang()


def hang():
    path = drop_in("hitherd.service", "[Service]\nWatchdogSec=1s\nTimeoutAbortSec=100ms\n")
    run("systemctl", "restart", "hitherd.service")

    def act():
        old = pid()
        os.kill(old, signal.SIGSTOP)
        check("the watchdog replaces a daemon that hangs", until(lambda: pid() not in (0, old) and prop("hitherd.service", "ActiveState") == "active"))
    under_load("a hang", act, worst_ms=5000, may_lose=2, seconds=8)
    check("the journal names the watchdog", "watchdog timeout" in journal("hitherd").lower())
    path.unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "hitherd.service")


def reloads():
    """The number of reloads that the daemon logged. `_COMM` leaves out the lines of the command that systemd runs."""
    run("journalctl", "--sync")
    return run("journalctl", "-b", "-o", "cat", "--no-pager", "_COMM=hitherd").stdout.count("the configuration is reloaded")


def reloading():
    wanted = "notify-reload" if version() >= 253 else "notify"
    check("the service has the type that suits this systemd", prop("hitherd.service", "Type") == wanted, prop("hitherd.service", "Type"))
    bad = configure("30", "[cache]\nmax_tll = \"1h\"\n")
    old = pid()
    done = run("systemctl", "reload", "hitherd.service")
    check("reload of a wrong configuration fails", done.returncode != 0)
    status = run("systemctl", "status", "hitherd.service").stdout
    check("systemctl status says that an older configuration is in force", "an older configuration is in force" in status, status)
    check("and gives the reason", "max_ttl" in status and "30.toml" in status, status)
    check("the daemon keeps running and answers", prop("hitherd.service", "ActiveState") == "active" and pid() == old and "198.51" in dig("@127.0.0.1", "+short", "c1.load.test").stdout)
    bad.unlink()
    configure("20", '[cache]\nmax_ttl = "33s"\n')
    done = run("systemctl", "reload", "hitherd.service")
    check("reload of a valid configuration succeeds", done.returncode == 0, done.stderr)
    before = reloads()
    for _ in range(3):
        run("systemctl", "reload", "hitherd.service")
    check("each command causes one reload", reloads() == before + 3, (before, reloads()))
    dig("@127.0.0.1", "after-reload.load.test")
    check("the new configuration is in force when the command returns", 0 < lookup("after-reload.load.test").get("ttl", 0) <= 33, lookup("after-reload.load.test"))
    check("systemctl status reports no older configuration any more", "older configuration" not in run("systemctl", "status", "hitherd.service").stdout)
    done = run("setpriv", "--reuid=nobody", "--clear-groups", "hitherctl", "reload")
    check("another user cannot reload", done.returncode == 1 and "only root" in done.stderr, done.stderr)


def wrong_configuration():
    """The first start fails, so that the operator sees it. Then hitherd runs without the configuration and replies at once until it is valid."""
    status = lambda: run("systemctl", "status", "hitherd.service").stdout
    active = lambda: prop("hitherd.service", "ActiveState") == "active"
    from upstream import serve
    serve(53, "127.0.0.2")
    before = pathlib.Path("/etc/resolv.conf").read_text() if os.path.exists("/etc/resolv.conf") else ""
    resolve_by("nameserver 127.0.0.1\nnameserver 127.0.0.2\n")
    for turn, begin in enumerate(("restart", "restart", "start")):
        bad = configure("30", "[cache]\nmax_tll = \"1h\"\n")
        if begin == "start":
            run("systemctl", "stop", "hitherd.service")
        lines = len(journal("hitherd", "hither-sorter").splitlines())
        done = run("systemctl", begin, "hitherd.service")
        check(f"{begin} with a wrong configuration fails", done.returncode != 0, done.stderr)
        check("the service runs nevertheless, and its status gives the reason", until(lambda: active() and "configuration is invalid" in status() and "max_ttl" in status()), status())
        check("hitherctl status gives the reason", "max_ttl" in ctl("status").stdout, ctl("status").stdout)
        text = journal("hitherd")
        check("the failure is in the journal", "78/CONFIG" in text or "status=78" in text, text[-800:])
        if turn == 0:
            told = lambda: len(journal("hitherd", "hither-sorter").splitlines())
            check("the sorter waits for the configuration too", until(lambda: "wrong" in prop("hither-sorter.service", "StatusText")), prop("hither-sorter.service", "StatusText"))
            before_wait = told()
            time.sleep(4)
            check("while they wait, the journal gets no further lines", told() - before_wait < 4, journal("hitherd", "hither-sorter")[-800:])
        began = time.monotonic()
        reply = dig("@127.0.0.1", f"new{turn}.load.test").stdout
        took = time.monotonic() - began
        check("a query gets SERVFAIL with an extended error, at once", "SERVFAIL" in reply and "EDE: 14" in reply and took < 1, (took, reply))
        # A lookup of a new name through glibc.
        began = time.monotonic()
        found = json.loads(run(sys.executable, "-B", "/src/systemd/boot.py", "lookup", f"next{turn}.load.test").stdout)
        print(f"        {begin}: a new name by the next name server in {found['took']:.3f} s")
        check("glibc goes on to the next name server", found["took"] < 1 and isinstance(found["found"], list), found)
        if begin == "restart":
            check("cached names are answered", "198.51.100." in dig("@127.0.0.1", "+short", "c1.load.test").stdout)
        done = run("systemctl", "reload", "hitherd.service")
        check("a reload fails while the configuration is wrong", done.returncode != 0 and active())
        bad.write_text("[cache]\nmax_tll = \"2h\"\n")
        check("systemctl status reports another error", until(lambda: "2h" in status()), status())
        old = pid()
        bad.unlink()
        if turn == 1:
            check("a reload succeeds once the configuration is valid", run("systemctl", "reload", "hitherd.service").returncode == 0)
        check("a valid configuration is in force without a restart", until(lambda: "198.51.100." in dig("@127.0.0.1", "+short", f"new{turn}.load.test").stdout) and pid() == old and until(lambda: "invalid" not in prop("hitherd.service", "StatusText")), status())
        text = journal("hitherd", "hither-sorter").splitlines()[lines:]
        check("the journal has fewer than 100 lines about it", len(text) < 100, text)
        check("the sorter is connected again", until(lambda: json.loads(ctl("status", "--json").stdout or "{}").get("sorter", {}).get("connected")), ctl("status").stdout)
    resolve_by(before)


def crash_loop():
    """A daemon that ends at once, twelve times. The port stays open, and the first daemon that runs answers the queries that waited."""
    path = drop_in("hitherd.service", "[Service]\nExecStart=\nExecStart=/bin/false\n")
    run("systemctl", "restart", "--no-block", "hitherd.service")
    check("systemd restarts it twelve times", until(lambda: int(prop("hitherd.service", "NRestarts") or 0) >= 12, 30), prop("hitherd.service", "NRestarts"))
    check("the socket stays open", prop("hitherd.socket", "ActiveState") == "active")
    waiting = subprocess.Popen(["dig", "+time=15", "+tries=1", "@127.0.0.1", "+short", "c2.load.test"], stdout=subprocess.PIPE, text=True)
    path.unlink()
    run("systemctl", "daemon-reload")
    check("the first daemon that starts answers the query that waited", "198.51.100." in waiting.communicate(timeout=30)[0])
    check("the service is active", until(lambda: prop("hitherd.service", "ActiveState") == "active"))


def stop():
    known = {"c0.load.test.": lookup("c0.load.test")}
    began = time.monotonic()
    done = run("systemctl", "stop", "hitherd.service")
    check("stop is quick and clean", done.returncode == 0 and time.monotonic() - began < 2 and prop("hitherd.service", "Result") == "success", done.stderr)
    check("the control socket survives it", prop("hitherd-control.socket", "ActiveState") == "active" and os.path.exists("/run/hitherd/control.sock"))
    check("the runtime directory is gone", not os.path.exists("/run/hither"))
    gone = ctl("lookup", "c0.load.test")
    check("a reader of the table is told why it is gone", gone.returncode == 1 and "systemctl start hitherd.service" in gone.stderr, gone.stderr)
    check("hitherctl status starts hitherd again", ctl("status").returncode == 0, ctl("status").stderr)
    # The saved cache is restored in the background.
    entry, before = until(lambda: lookup("c0.load.test")), known["c0.load.test."]
    check("the saved cache is restored, with TTLs that are not longer and a higher version", entry and entry["ttl"] <= before["ttl"] and entry["version"] > before["version"] and entry["addresses"] == before["addresses"], (before, entry))
    check("the sorter is connected", until(lambda: json.loads(ctl("status", "--json").stdout)["sorter"]["connected"]), ctl("status").stdout)
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")
    sockets = [prop(unit, "ActiveState") for unit in ("hitherd.socket", "hitherd-control.socket", "hitherd-sorter.socket", "hitherd.service")]
    check("stopping hitherd.socket and hitherd.service stops everything", until(lambda: prop("hither-sorter.service", "ActiveState") == "inactive") and set(sockets) == {"inactive"}, sockets)


main(prepare, start, reloading, load, wrong_configuration, crash_loop, stop)
