"""hither-changed@.service: the name as it is, the start, a change, a restart of hitherd, a reload of a service from the sandbox, the end."""
import os, pathlib, struct, socket, threading, time

from common import check, configure, drop_in, journal, main, prepare, prop, run, until

NAME = "my-backend.change.test"
UNIT = f"hither-changed@{NAME}.service"
FOLDER = pathlib.Path("/etc/hither/changed.d")
SEEN = pathlib.Path("/var/lib/follower/seen")
end = 1


def serve():
    """Answers A with 198.51.100.(end), for five seconds, and all else with NODATA."""
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("127.0.0.1", 5300))

    def loop():
        while True:
            query, peer = here.recvfrom(4096)
            stop = query.index(0, 12) + 5
            is_a = query[stop - 4:stop - 2] == b"\0\1"
            head = query[:2] + struct.pack(">5H", 0x8180, 1, int(is_a), int(not is_a), 0) + query[12:stop]
            soa = b"\x06change\x04test\0" + struct.pack(">HHIH", 6, 1, 60, 22) + b"\0\0" + struct.pack(">5I", 1, 3600, 600, 86400, 60)
            here.sendto(head + (b"\xc0\x0c" + struct.pack(">HHIH4B", 1, 1, 5, 4, 198, 51, 100, end) if is_a else soa), peer)
    threading.Thread(target=loop, daemon=True).start()


def seen():
    return SEEN.read_text().splitlines() if SEEN.exists() else []


def start():
    prepare()
    serve()
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')
    done = run("systemctl", "start", "hitherd.service")
    check("hitherd starts", done.returncode == 0, done.stderr)
    check("the unit is off", prop("hither-changed@www.example.com.service", "UnitFileState") == "disabled")
    missing = run("systemctl", "start", UNIT)
    check("without its command the unit does not start, and the message names the file",
          missing.returncode != 0 and f"Assertion failed for {UNIT} - {FOLDER}/{NAME}" in journal(UNIT), journal(UNIT))
    SEEN.parent.mkdir()
    # A service that is reloaded: it notes each reload.
    pathlib.Path("/etc/systemd/system/follower.service").write_text(
        "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'cat /etc/follower >> /var/lib/follower/seen'\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "follower.service")
    script = FOLDER / NAME
    script.write_text('#!/bin/sh\nset -e\necho "$HITHER_NAME $HITHER_CAUSE $HITHER_ADDRESSES" > /etc/follower\n'
                      'touch /usr/changed 2>/dev/null && echo "/usr can be written" >> /etc/follower\nsystemctl reload follower.service\n')
    script.chmod(0o755)
    done = run("systemctl", "enable", "--now", UNIT)
    check("it is enabled and started", done.returncode == 0, done.stderr)
    lines = until(seen)
    check("a name for which nobody asks is resolved, and its service is reloaded",
          len(lines) == 1 and lines[0].startswith(NAME) and lines[0].endswith(" 198.51.100.1"), (lines, journal(UNIT)))


def change():
    global end
    end = 2
    begin = time.monotonic()
    lines = until(lambda: len(seen()) > 1 and seen())
    check("a change reloads the service", lines and lines[1] == f"{NAME} new-set 198.51.100.2", (seen(), journal(UNIT)))
    check("within two TTLs", time.monotonic() - begin < 10, time.monotonic() - begin)


def restart():
    global end
    pid = prop(UNIT, "MainPID")
    for how in (["systemctl", "restart", "hitherd.service"], ["systemctl", "kill", "-s", "KILL", "hitherd.service"]):
        run(*how)
        until(lambda: prop("hitherd.service", "ActiveState") == "active")
    # A change after both is followed by one reload, and no other one came before it.
    end = 3
    lines = until(lambda: len(seen()) > 2 and seen(), 20)
    check("a restart of hitherd reloads nothing, and changes are followed afterwards",
          lines and len(lines) == 3 and lines[2].endswith(" 198.51.100.3"), (seen(), journal(UNIT)))
    check("the unit was not restarted", prop(UNIT, "MainPID") == pid and prop(UNIT, "NRestarts") == "0")
    run("systemctl", "stop", "hitherd.service")
    check("it outlives a daemon that is stopped", prop(UNIT, "ActiveState") == "active")
    run("systemctl", "start", "hitherd.service")
    end = 4
    lines = until(lambda: len(seen()) > 3 and seen(), 20)
    check("and follows the next one", lines and lines[3].endswith(" 198.51.100.4"), (seen(), journal(UNIT)))


def stop():
    done = run("systemctl", "stop", UNIT)
    check("it stops cleanly", done.returncode == 0 and prop(UNIT, "Result") == "success", prop(UNIT, "Result"))
    # A drop-in for a user without rights.
    drop_in(UNIT, "[Service]\nUser=nobody\nProtectSystem=strict\n")
    script = FOLDER / NAME
    script.write_text("#!/bin/sh\nid -un\n")
    run("systemctl", "start", UNIT)
    check("it runs as another user", until(lambda: "nobody" in journal(UNIT).splitlines()), journal(UNIT))
    run("systemctl", "disable", "--now", UNIT)
    check("nothing of it is left", not os.path.exists(f"/etc/systemd/system/multi-user.target.wants/{UNIT}"))


main(start, change, restart, stop)
