"""Faults around the service: foreign and missing sockets, a runtime directory that is full, read-only or holds another user's table, no right
to ping, a journal that is gone or hangs. The journal reports each, and the service goes on or gives the reason why it cannot."""
import json, os, pathlib, signal, socket, subprocess, sys, time

from common import check, configure, ctl, dig, drop_in, journal, lookup, main, prepare, prop, run, stats, until

RUNTIME = pathlib.Path("/run/hither")


def start():
    from upstream import serve
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    check("hitherd answers", answers("first"))


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
    check("hitherd answers although it is passed sockets that it cannot use", answers("foreign"))
    text = journal("hitherd")
    check("the journal names a FIFO that was passed as a socket", "handed over by systemd is no socket; expected ListenDatagram=" in text, text[-600:])
    check("the journal names a local socket with an unknown name", "the local socket 'odd' handed over by systemd is for nothing; expected FileDescriptorName=control, sorter or site" in text, text[-600:])
    check("the control socket is then created in the runtime directory", ctl("status").returncode == 0 and (RUNTIME / "control.sock").exists(), ctl("status").stderr)
    stop()
    fifo.unlink(), name.unlink()
    run("systemctl", "daemon-reload")


def taken_port():
    stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 53))
        done = begin()
        check("if another process has the port, the socket unit fails", done.returncode != 0 and prop("hitherd.socket", "Result") == "resources", done.stderr)
        done = run("systemctl", "start", "hitherd.service")
        check("and the service fails because of that dependency", done.returncode != 0 and "depend" in done.stderr, done.stderr)
    check("once the port is free, both start", begin().returncode == 0 and answers("free-again"))


def missing_socket():
    stop()
    run("systemctl", "mask", "--runtime", "hitherd.socket")
    done = run("systemctl", "start", "hitherd.service")
    check("systemctl names the masked socket unit", done.returncode != 0 and "hitherd.socket is masked" in done.stderr, done.stderr)
    run("systemctl", "unmask", "--runtime", "hitherd.socket")
    # Started by hand without sockets: hitherd then opens its own, which it may not bind here.
    done = run("setpriv", "--reuid=hither", "--regid=hither", "--clear-groups", "--bounding-set=-all", "env", "RUNTIME_DIRECTORY=/tmp/by-hand", "hitherd")
    check("without sockets and without the right to bind, hitherd says why it cannot start", done.returncode == 1 and "cannot listen at 127.0.0.1:53" in done.stderr and "there is no address to listen at" in done.stderr, done.stderr)
    check("with the sockets hitherd starts", begin().returncode == 0 and answers("with-sockets"))


def failing(what, words, status=None):
    run("systemctl", "start", "--no-block", "hitherd.service")
    seen = until(lambda: int(prop("hitherd.service", "NRestarts") or 0) > 1 and words in journal("hitherd"))
    check(f"{what}: the journal reports it", seen, journal("hitherd")[-600:])
    check(f"{what}: systemd restarts the service, and port 53 stays open", prop("hitherd.socket", "ActiveState") == "active" and not active())
    if status:
        check(f"{what}: its status is {status}", until(lambda: prop("hitherd.service", "ExecMainStatus") == status))


def problems():
    return " ".join(json.loads(ctl("status", "--json").stdout or "{}").get("problems", ["no status"]))


def runtime_directory():
    """Names are answered without a shared table. With too little memory the table is smaller."""
    for what, size, words in (("a full runtime directory", "64k", "cannot be shared"), ("a tiny runtime directory", "8m", "names only")):
        stop()
        RUNTIME.mkdir(exist_ok=True)
        check("a tmpfs is mounted", run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "none", str(RUNTIME)).returncode == 0)
        path = configure("50", "[table]\nentries = 65536\n")
        begin()
        check(f"{what}: hitherd answers", answers("without-room"))
        check(f"{what}: hitherctl status reports it with the reason", words in problems() and "No space left" in problems(), problems())
        check(f"{what}: the status of the service and the journal report it", words in prop("hitherd.service", "StatusText") and words in journal("hitherd"), prop("hitherd.service", "StatusText"))
        found = lookup("without-room.load.test")
        check(f"{what}: readers find {'nothing' if size == '64k' else 'the names'} in the table", bool(found) == (size != "64k"), found)
        run("mount", "-o", "remount,size=64m", str(RUNTIME))
        run("systemctl", "reload", "hitherd.service")
        check(f"{what}: once there is memory, the table has its configured size and keeps its entries", until(lambda: lookup("without-room.load.test")) and problems() == "", (problems(), journal("hitherd")[-600:]))
        path.unlink()
        stop()
        run("umount", str(RUNTIME))
    # systemd creates the directory, and here it cannot.
    RUNTIME.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "ro,mode=0755", "none", str(RUNTIME))
    begin()
    failing("a read-only runtime directory", "Read-only")
    run("umount", str(RUNTIME))
    check("once the directory can be written, the service recovers by itself", until(lambda: answers("healed"), 20))


def removed_runtime_directory():
    """hitherd cannot make the directory in its sandbox, so it ends and systemd makes it for the next start."""
    begin()
    before = prop("hitherd.service", "MainPID")
    run("rm", "-rf", str(RUNTIME))
    check("the runtime directory is removed: hitherd is started again", until(lambda: prop("hitherd.service", "MainPID") not in (before, "0") and RUNTIME.exists(), 40), journal("hitherd")[-600:])
    check("names are answered, and readers find them in the new table", answers("after-removal") and until(lambda: lookup("after-removal.load.test")), journal("hitherd")[-600:])
    check("the journal says what happened", "the runtime directory '/run/hither' was removed" in journal("hitherd"), journal("hitherd")[-600:])


def strangers_table():
    path = drop_in("hitherd.service", "[Service]\nExecStartPre=+/bin/sh -c 'rm -f /run/hither/hosts; head -c 70000 /dev/urandom > /run/hither/hosts; chown nobody /run/hither/hosts'\n")
    restart()
    text = journal("hitherd")
    check("a table of another user is replaced, and the journal says so", "is replaced by a new one" in text, text[-600:])
    check("hitherd answers, and the new table is its own", answers("after-stranger") and os.stat(RUNTIME / "hosts").st_uid == os.stat(f"/proc/{prop('hitherd.service', 'MainPID')}").st_uid)
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
        check("the journal says why the cache is not restored", until(lambda: count() == told), journal("hitherd")[-500:])
        stop()
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        else:
            file.unlink(missing_ok=True)
        file.write_bytes(whole), os.chown(file, owner.st_uid, owner.st_gid), os.chmod(file, 0o600)
    begin()
    check("an intact saved cache is restored", answers("again") and until(lambda: lookup("saved.load.test")), journal("hitherd")[-400:])
    stop()
    for what, options in (("full", "size=4k,mode=0700"), ("read-only", "ro,mode=0700")):
        check("a tmpfs is mounted", run("mount", "-t", "tmpfs", "-o", options, "none", "/var/lib/hither").returncode == 0)
        begin()
        [answers(f"many{at}") for at in range(100)]
        check(f"a {what} state directory: hitherd answers", answers(f"beside-{what}"))
        said = lambda: sum(journal("hitherd").count(words) for words in ("the cache is not saved", "cannot hold the whole cache"))
        before = said()
        stop()
        check(f"a {what} state directory: the journal reports it, and the stop succeeds", said() > before, journal("hitherd")[-500:])
        run("umount", "/var/lib/hither")
    begin()
    check("once the state directory is writable, hitherd answers as before", until(lambda: answers("mended"), 20))


def no_ping():
    old = pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text()
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text("1 0")
    run("systemctl", "restart", "hither-sorter.service")
    lacks = lambda: json.loads(ctl("status", "--json").stdout or "{}").get("sorter", {}).get("lacks")
    check("hitherctl status says what the sorter cannot do", until(lambda: "icmp" in " ".join(lacks() or []).lower()), ctl("status").stdout)
    check("the journal says that the sorter cannot ping", "ICMP" in journal("hither-sorter") or "icmp" in journal("hither-sorter"), journal("hither-sorter"))
    check("the sorter keeps running", active("hither-sorter.service"))
    pathlib.Path("/proc/sys/net/ipv4/ping_group_range").write_text(old)


def credential():
    path = drop_in("hitherd.service", '[Service]\nSetCredential=hither.toml:[cache]\\nmax_ttl = "44s"\\n\n')
    restart()
    check("hitherd answers", answers("credential"))
    check("a credential is read after all other configuration", 0 < lookup("credential.load.test").get("ttl", 0) <= 44, lookup("credential.load.test"))
    path.unlink()
    run("systemctl", "daemon-reload")
    restart()


def fields():
    check("journalctl accepts the message catalogue", run("journalctl", "--update-catalog").returncode == 0)
    entries = [json.loads(line) for line in run("journalctl", "-b", "-u", "hitherd", "HITHER_EVENT=ready", "-o", "json").stdout.splitlines()]
    one = entries[-1] if entries else {}
    wanted = {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "hitherd", "_SYSTEMD_UNIT": "hitherd.service", "_TRANSPORT": "journal"}
    check("entries have their journal fields", one and all(one.get(key) == value for key, value in wanted.items()) and len(one.get("MESSAGE_ID", "")) == 32, one)
    text = run("journalctl", "-b", "-x", f"MESSAGE_ID={one.get('MESSAGE_ID')}").stdout
    check("journalctl -x shows their explanation", "Defined-By: hither" in text and "man:hitherd(8)" in text, text[-600:])
    run("systemctl", "restart", "hitherd.service")
    text = journal("hitherd")
    check("the journal contains no name that a client asked for", "load.test" not in text, [line for line in text.splitlines() if "load.test" in line][:3])


def flood(count):
    done = run(sys.executable, "/src/systemd/load.py", "2000", str(count / 2000), "200")
    return json.loads(done.stdout)


def journal_hangs():
    configure("40", '[log]\nlevel = "debug"\n')
    run("systemctl", "reload", "hitherd.service")
    daemon = int(prop("systemd-journald.service", "MainPID"))
    os.kill(daemon, signal.SIGSTOP)
    try:
        found = flood(10_000)
    finally:
        os.kill(daemon, signal.SIGCONT)
    check("while the journal hangs, no query is lost or delayed", found["lost"] == 0 and found["failed"] == 0 and found["worst_ms"] < 1000, found)
    answers("after-the-halt")
    pathlib.Path("/etc/hither/hither.toml.d/40.toml").unlink()
    run("systemctl", "reload", "hitherd.service")
    check("hitherd writes to the journal again", until(lambda: "is reloaded" in journal("hitherd", since="-5s")), journal("hitherd")[-300:])


def journal_is_gone():
    units = ["systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket"]
    run("systemctl", "stop", *units)
    check("the journal is stopped", until(lambda: prop("systemd-journald.service", "ActiveState") == "inactive"))
    check("queries are answered without a journal", answers("no-journal"))
    check("reload and restart work without a journal", run("systemctl", "reload", "hitherd.service").returncode == 0 and restart() and answers("no-journal-either"))
    run("systemctl", "start", *reversed(units))
    check("the journal runs again", until(lambda: active("systemd-journald.service")))
    check("hitherd writes its next message to it", run("systemctl", "reload", "hitherd.service").returncode == 0 and until(lambda: "is reloaded" in journal("hitherd", since="-3s")), journal("hitherd")[-300:])


main(prepare, start, fields, foreign_sockets, taken_port, missing_socket, runtime_directory, removed_runtime_directory, strangers_table, saved_cache, no_ping, credential, journal_hangs, journal_is_gone)
