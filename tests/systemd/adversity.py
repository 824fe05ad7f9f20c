"""What goes wrong around the service: foreign and missing sockets, a runtime directory that is full, read-only or holds a stranger's table, no
right to ping, a journal that is gone or stands still. Each has a line in the journal, and the service goes on or says why it cannot."""
import json, os, pathlib, signal, socket, subprocess, sys, time

from common import check, configure, ctl, dig, drop_in, journal, lookup, main, prepare, prop, run, stats, until

RUNTIME = pathlib.Path("/run/hither")


def start():
    from upstream import serve
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    check("it answers", answers("first"))


def answers(name):
    return "198.51.100." in dig("@127.0.0.1", "+short", f"{name}.load.test").stdout


def active(unit="hitherd.service"):
    return prop(unit, "ActiveState") == "active"


def restart():
    run("systemctl", "restart", "hitherd.service")
    return until(active)


def stop():
    run("systemctl", "stop", "hitherd.socket", "hitherd.service")


def begin():
    run("systemctl", "reset-failed")
    return run("systemctl", "start", "hitherd.socket", "hitherd-control.socket", "hitherd-sorter.socket")


def foreign_sockets():
    stop()
    fifo = drop_in("hitherd.socket", "[Socket]\nListenFIFO=/run/odd.fifo\n")
    name = drop_in("hitherd-control.socket", "[Socket]\nFileDescriptorName=odd\n")
    begin()
    check("it answers beside sockets that are not for it", answers("foreign"))
    text = journal("hitherd")
    check("the journal names a pipe", "handed over by systemd is no socket; expected ListenDatagram=" in text, text[-600:])
    check("and a local socket of a wrong name", "the local socket 'odd' handed over by systemd is for nothing; expected FileDescriptorName=control or sorter" in text, text[-600:])
    check("the control socket is made in the runtime directory instead", ctl("status").returncode == 0 and (RUNTIME / "control.sock").exists(), ctl("status").stderr)
    stop()
    fifo.unlink(), name.unlink()
    run("systemctl", "daemon-reload")


def taken_port():
    stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 53))
        done = begin()
        check("a port that is taken fails the socket", done.returncode != 0 and prop("hitherd.socket", "Result") == "resources", done.stderr)
        done = run("systemctl", "start", "hitherd.service")
        check("and the service says on what it depends", done.returncode != 0 and "depend" in done.stderr, done.stderr)
    check("when the port is free again they start", begin().returncode == 0 and answers("free-again"))


def missing_socket():
    stop()
    run("systemctl", "mask", "--runtime", "hitherd.socket")
    done = run("systemctl", "start", "hitherd.service")
    check("a socket unit that is masked is named", done.returncode != 0 and "hitherd.socket is masked" in done.stderr, done.stderr)
    run("systemctl", "unmask", "--runtime", "hitherd.socket")
    # By hand and without any socket: its own addresses, which it may not bind.
    done = run("setpriv", "--reuid=hither", "--regid=hither", "--clear-groups", "--bounding-set=-all", "env", "RUNTIME_DIRECTORY=/tmp/by-hand", "hitherd")
    check("without a socket and without the right to bind it says so", done.returncode == 1 and "cannot listen at 127.0.0.1:53" in done.stderr and "there is no address to listen at" in done.stderr, done.stderr)
    check("with the sockets it starts", begin().returncode == 0 and answers("with-sockets"))


def failing(what, words, status=None):
    run("systemctl", "start", "--no-block", "hitherd.service")
    seen = until(lambda: int(prop("hitherd.service", "NRestarts") or 0) > 1 and words in journal("hitherd"))
    check(f"{what}: the journal says so", seen, journal("hitherd")[-600:])
    check(f"{what}: the service is started again, and port 53 stays open", prop("hitherd.socket", "ActiveState") == "active" and not active())
    if status:
        check(f"{what}: its status is {status}", until(lambda: prop("hitherd.service", "ExecMainStatus") == status))


def problems():
    return " ".join(json.loads(ctl("status", "--json").stdout or "{}").get("problems", ["no status"]))


def runtime_directory():
    """Without a table for others names are answered all the same, and with less room by a smaller one."""
    for what, size, words in (("a full runtime directory", "64k", "cannot be shared"), ("a tiny runtime directory", "8m", "names only")):
        stop()
        RUNTIME.mkdir(exist_ok=True)
        check("a file system of its own", run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", str(RUNTIME)).returncode == 0)
        path = configure("50", "[table]\nentries = 65536\n")
        begin()
        check(f"{what}: it answers", answers("without-room"))
        check(f"{what}: status says so, and why", words in problems() and "No space left" in problems(), problems())
        check(f"{what}: so do the service's status and the journal", words in prop("hitherd.service", "StatusText") and words in journal("hitherd"), prop("hitherd.service", "StatusText"))
        found = lookup("without-room.load.test")
        check(f"{what}: others find {'nothing' if size == '64k' else 'what it knows'} in the table", bool(found) == (size != "64k"), found)
        run("mount", "-o", "remount,size=64m", str(RUNTIME))
        run("systemctl", "reload", "hitherd.service")
        check(f"{what}: with room there is the table that is wanted, with what was known", until(lambda: lookup("without-room.load.test")) and problems() == "", (problems(), journal("hitherd")[-600:]))
        path.unlink()
        stop()
        run("umount", str(RUNTIME))
    # systemd itself sees to the directory, and cannot.
    RUNTIME.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "ro,mode=0755", "none", str(RUNTIME))
    begin()
    failing("a read-only runtime directory", "Read-only")
    run("umount", str(RUNTIME))
    check("when it is mended the service heals itself", until(lambda: answers("healed"), 20))


def strangers_table():
    path = drop_in("hitherd.service", "[Service]\nExecStartPre=+/bin/sh -c 'rm -f /run/hither/hosts; head -c 70000 /dev/urandom > /run/hither/hosts; chown nobody /run/hither/hosts'\n")
    restart()
    text = journal("hitherd")
    check("a table of somebody else is replaced, and the journal says whose it was", "is replaced by a new one" in text, text[-600:])
    check("and the service goes on", answers("after-stranger") and os.stat(RUNTIME / "hosts").st_uid == os.stat(f"/proc/{prop('hitherd.service', 'MainPID')}").st_uid)
    path.unlink()
    run("systemctl", "daemon-reload")


def saved_cache():
    file = pathlib.Path("/var/lib/hither/cache")
    answers("saved")
    stop()
    check("the cache is saved when the service stops", file.exists() and file.stat().st_mode & 0o777 == 0o600, list(file.parent.iterdir()))
    whole, owner, told = file.read_bytes(), file.stat(), 0
    def corrupt():
        file.write_bytes(whole[:-1])
    def foreign():
        os.chown(file, 65534, 65534)
    def link():
        file.unlink(), file.symlink_to("/etc/passwd")
    def directory():
        file.unlink(), file.mkdir()
    for spoil in (corrupt, foreign, link, directory):
        spoil()
        begin()
        check(f"a saved cache that is {spoil.__name__}: the service goes on", answers("goes-on"))
        told += 1
        count = lambda: journal("hitherd").count("/var/lib/hither/cache' is not restored:")
        check("and the journal says why it begins without", until(lambda: count() == told), journal("hitherd")[-500:])
        stop()
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        else:
            file.unlink(missing_ok=True)
        file.write_bytes(whole), os.chown(file, owner.st_uid, owner.st_gid), os.chmod(file, 0o600)
    begin()
    check("a good one is restored", answers("again") and until(lambda: lookup("saved.load.test")), journal("hitherd")[-400:])
    stop()
    for what, options in (("full", "size=4k,mode=0700"), ("read-only", "ro,mode=0700")):
        check("a file system of its own", run("mount", "-t", "tmpfs", "-o", options, "none", "/var/lib/hither").returncode == 0)
        begin()
        [answers(f"many{at}") for at in range(100)]
        check(f"a {what} state directory: it answers", answers(f"beside-{what}"))
        said = lambda: sum(journal("hitherd").count(words) for words in ("the cache is not saved", "cannot hold the whole cache"))
        before = said()
        stop()
        check(f"a {what} state directory: the journal says so, and stopping works", said() > before, journal("hitherd")[-500:])
        run("umount", "/var/lib/hither")
    begin()
    check("when that is mended all is well", until(lambda: answers("mended"), 20))


def no_ping():
    old = pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text()
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text("1 0")
    run("systemctl", "restart", "hither-sorter.service")
    lacks = lambda: json.loads(ctl("status", "--json").stdout or "{}").get("sorter", {}).get("lacks")
    check("status names what the sorter cannot do", until(lambda: "icmp" in " ".join(lacks() or []).lower()), ctl("status").stdout)
    check("and so does the journal", "ICMP" in journal("hither-sorter") or "icmp" in journal("hither-sorter"), journal("hither-sorter"))
    check("the sorter goes on", active("hither-sorter.service"))
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text(old)


def credential():
    path = drop_in("hitherd.service", '[Service]\nSetCredential=hither.toml:[cache]\\nmax_ttl = "44s"\\n\n')
    restart()
    check("it answers", answers("credential"))
    check("a credential is read as the last of the configuration", 0 < lookup("credential.load.test").get("ttl", 0) <= 44, lookup("credential.load.test"))
    path.unlink()
    run("systemctl", "daemon-reload")
    restart()


def fields():
    check("the catalogue is taken", run("journalctl", "--update-catalog").returncode == 0)
    entries = [json.loads(line) for line in run("journalctl", "-b", "-u", "hitherd", "HITHER_EVENT=ready", "-o", "json").stdout.splitlines()]
    one = entries[-1] if entries else {}
    wanted = {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "hitherd", "_SYSTEMD_UNIT": "hitherd.service", "_TRANSPORT": "journal"}
    check("entries have fields", one and all(one.get(key) == value for key, value in wanted.items()) and len(one.get("MESSAGE_ID", "")) == 32, one)
    text = run("journalctl", "-b", "-x", f"MESSAGE_ID={one.get('MESSAGE_ID')}").stdout
    check("and journalctl explains them", "Defined-By: hither" in text and "man:hitherd(8)" in text, text[-600:])
    run("systemctl", "restart", "hitherd.service")
    text = journal("hitherd")
    check("no name that a client asked for is in it", "load.test" not in text, [line for line in text.splitlines() if "load.test" in line][:3])


def flood(count):
    done = run(sys.executable, "/src/systemd/load.py", "2000", str(count / 2000), "200")
    return json.loads(done.stdout)


def journal_stands_still():
    configure("40", '[log]\nlevel = "debug"\n')
    run("systemctl", "reload", "hitherd.service")
    daemon = int(prop("systemd-journald.service", "MainPID"))
    os.kill(daemon, signal.SIGSTOP)
    try:
        found = flood(10_000)
    finally:
        os.kill(daemon, signal.SIGCONT)
    check("a journal that stands still delays and loses nothing", found["lost"] == 0 and found["failed"] == 0 and found["worst_ms"] < 1000, found)
    answers("after-the-halt")
    pathlib.Path("/etc/hither/hither.toml.d/40.toml").unlink()
    run("systemctl", "reload", "hitherd.service")
    check("it writes there again", until(lambda: "is reloaded" in journal("hitherd", since="-5s")), journal("hitherd")[-300:])


def journal_is_gone():
    units = ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket"]
    run("systemctl", "stop", *units)
    check("the journal is gone", until(lambda: prop("systemd-journald.service", "ActiveState") == "inactive"))
    check("queries are answered without a journal", answers("no-journal"))
    check("reload and restart work", run("systemctl", "reload", "hitherd.service").returncode == 0 and restart() and answers("no-journal-either"))
    run("systemctl", "start", *reversed(units))
    check("the journal is back", until(lambda: active("systemd-journald.service")))
    check("and the daemon writes to it once it has something to say", run("systemctl", "reload", "hitherd.service").returncode == 0 and until(lambda: "is reloaded" in journal("hitherd", since="-3s")), journal("hitherd")[-300:])


main(prepare, start, fields, foreign_sockets, taken_port, missing_socket, runtime_directory, strangers_table, saved_cache, no_ping, credential, journal_stands_still, journal_is_gone)
