"""Followed files, from inside the sandbox and on an overlay file system: changes of the files and of their paths, upstreams of the system that
appear after hitherd started, and the file and the commands for containers."""
import json, os, pathlib, shutil, socket, struct, time

from common import check, configure, ctl, journal, main, prepare, resolve_by, run, until

HOSTS, ETC = pathlib.Path("/etc/hosts"), pathlib.Path("/etc")
times = []


def ask(name, server="127.0.0.1", source=None):
    """The last octet of each address, or the RCODE."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.settimeout(2)
        if source:
            here.bind((source, 0))
        query = os.urandom(2) + struct.pack(">5H", 0x100, 1, 0, 0, 0) + b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0\0\1\0\1"
        here.sendto(query, (server, 53))
        try:
            reply = here.recv(4096)
        except TimeoutError:
            return None
        count = struct.unpack(">H", reply[6:8])[0]
        return [reply[-1]] if count else reply[3] & 15


def in_force(what, name, want):
    began = time.monotonic()
    last = []
    until(lambda: last.append(ask(name)) or last[-1] == want, 5)
    took = time.monotonic() - began
    times.append(took)
    check(f"{what}: in force after {took * 1000:.0f} ms", last[-1] == want and took < 2, last[-1])


def line(end, name="f.test"):
    return f"198.51.100.{end} {name}\n"


def answering(address, end):
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind((address, 53))

    def loop():
        while True:
            query, peer = here.recvfrom(4096)
            stop = query.index(0, 12) + 5
            body = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(f"198.18.0.{end}")
            here.sendto(query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:stop] + body, peer)
    import threading
    threading.Thread(target=loop, daemon=True).start()


def followed():
    answering("127.0.0.9", 9)
    configure("10", '[[upstream]]\naddress = "127.0.0.9"\n[hosts]\nfiles = ["/etc/hosts", "/srv/x/y/hosts"]\n')
    HOSTS.unlink(missing_ok=True)
    run("systemctl", "start", "hitherd.service")
    check("a name without a line is asked upstream", until(lambda: ask("f.test") == [9]))
    HOSTS.write_text(line(1))
    in_force("a new hosts file", "f.test", [1])
    with HOSTS.open("a") as file:
        file.write("# a line more\n" + line(2, "g.test"))
    in_force("an added line", "g.test", [2])
    (ETC / "new").write_text(line(3))
    os.rename(ETC / "new", HOSTS)
    in_force("a hosts file replaced by rename", "f.test", [3])
    pathlib.Path("/srv/other").write_text(line(4))
    check("a file is mounted over the hosts file", run("mount", "--bind", "/srv/other", "/etc/hosts").returncode == 0)
    in_force("the mounted file", "f.test", [4])
    check("the mount is removed", run("umount", "/etc/hosts").returncode == 0)
    in_force("the file below the mount", "f.test", [3])
    (ETC / "one").mkdir(), (ETC / "one/hosts").write_text(line(5))
    (ETC / "two").mkdir(), (ETC / "two/hosts").write_text(line(6))
    os.symlink("one", ETC / "static"), os.symlink("/etc/static/hosts", ETC / "new")
    os.rename(ETC / "new", HOSTS)
    in_force("a link through a link", "f.test", [5])
    os.symlink("two", ETC / "new"), os.rename(ETC / "new", ETC / "static")
    in_force("the middle link replaced", "f.test", [6])
    (ETC / "two/hosts").chmod(0)
    (ETC / "two/hosts").write_text(line(8))
    (ETC / "two/hosts").chmod(0o644)
    in_force("a file that hitherd could not read for a while", "f.test", [8])
    pathlib.Path("/srv/x/y").mkdir(parents=True)
    pathlib.Path("/srv/x/y/hosts").write_text(line(7, "h.test"))
    in_force("a file in new directories", "h.test", [7])
    check("the journal reports no file that cannot be followed", "cannot be watched" not in journal("hitherd") and "cannot be followed" not in journal("hitherd"), journal("hitherd"))


def upstreams():
    answering("127.0.0.8", 8)
    shutil.rmtree("/run/systemd/resolve", ignore_errors=True)
    path = pathlib.Path("/etc/resolv.conf")
    path.unlink(missing_ok=True)
    path.symlink_to("../run/systemd/resolve/stub-resolv.conf")
    configure("10", "")
    check("the reload succeeds", ctl("reload").returncode == 0)
    resolve = pathlib.Path("/run/systemd/resolve")
    resolve.mkdir()
    (resolve / "stub-resolv.conf").write_text("nameserver 127.0.0.53\nsearch lan.test\n")
    (resolve / "resolv.conf").write_text("nameserver 127.0.0.8\nsearch lan.test\n")
    in_force("/run/systemd/resolve is created after hitherd started", "a.example", [8])
    ours = pathlib.Path("/run/hither/resolv.conf")
    check("the file for containers names the new upstream", until(lambda: "\nnameserver 127.0.0.8\nsearch lan.test\n" in ours.read_text()), ours.read_text())
    check("the file for containers has mode 0644", ours.stat().st_mode & 0o777 == 0o644, oct(ours.stat().st_mode))
    configure("10", '[[upstream]]\naddress = "127.0.0.9"\n[[upstream]]\naddress = "192.0.2.53"\n')
    ctl("reload")
    check("after a reload the file names the configured upstreams", "\nnameserver 192.0.2.53\n" in ours.read_text() and "nameserver 127" not in ours.read_text(), ours.read_text())
    run("systemctl", "restart", "hitherd.service")
    check("and after a restart too", ours.exists() and "192.0.2.53" in ours.read_text())


def containers():
    resolve_by("nameserver 127.0.0.1\n")
    configure("10", '[[upstream]]\naddress = "127.0.0.9"\n')
    ctl("reload")
    docker = pathlib.Path("/etc/docker/daemon.json")
    docker.parent.mkdir()
    docker.write_text('{\n  "log-driver": "json-file"\n}\n')
    pathlib.Path("/etc/systemd/system/docker.service").write_text("[Service]\nExecStart=/bin/sleep infinity\n")
    run("systemctl", "daemon-reload")

    def said():
        found = {one["check"]: one for one in map(json.loads, ctl("doctor", "--json").stdout.splitlines())}
        return found["docker"]
    one = said()
    check("doctor warns that containers do not reach hitherd", one["state"] == "warning" and one["fix"], one)
    done = run("sh", "-c", one["fix"])
    check(f"its command works: {one['fix']}", done.returncode == 0, done.stderr)
    check("Docker's configuration names the bridge and keeps its other settings", json.loads(docker.read_text()) == {"dns": ["172.17.0.1"], "log-driver": "json-file"}, docker.read_text())
    check("Docker is restarted", run("systemctl", "is-active", "docker.service").stdout.strip() == "active")
    check("hitherd answers, and doctor is content, before there is a bridge", until(lambda: ask("b.example") == [9]) and said()["state"] == "ok", said())
    # The addresses of a bridge and of a container behind it.
    for words in ("link add br0 type bridge", "address add 172.17.0.1/16 dev br0", "link set br0 up", "address add 172.17.0.2/32 dev br0",
                  "address add 203.0.113.7/32 dev br0"):
        run("ip", *words.split())
    check("a query from behind the bridge is answered", until(lambda: ask("c.example", "172.17.0.1", "172.17.0.2") == [9]), ask("c.example", "172.17.0.1", "172.17.0.2"))
    check("a query from elsewhere is refused", ask("c.example", "172.17.0.1", "203.0.113.7") == 5, ask("c.example", "172.17.0.1", "203.0.113.7"))
    print(f"        {len(times)} changes, {max(times) * 1000:.0f} ms at most")


main(prepare, followed, upstreams, containers)
