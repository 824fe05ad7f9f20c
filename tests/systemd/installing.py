"""Shared by the checks that install the Debian packages: /debs has those that `make deb` builds, /debs/next the same with a higher version."""
import json, os, pathlib, subprocess, sys

from common import check, dig, prop, run, stats, until

DEBS = pathlib.Path("/debs")
RATE, SECONDS = 1000, 10


def deb(name, folder=DEBS):
    [file] = folder.glob(f"{name}_*.deb")
    return str(file)


def dpkg(*args):
    done = run("dpkg", *args, stdin=subprocess.DEVNULL, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, timeout=120)
    check("dpkg " + " ".join(os.path.basename(arg) for arg in args), done.returncode == 0, done.stdout + done.stderr)
    return done


def files(package):
    """The files of a package that exist. dpkg may be configured to leave out documentation."""
    return [path for path in run("dpkg", "-L", package).stdout.splitlines() if os.path.isfile(path)]


def leftovers():
    """All files in the container with hither in their names."""
    found = run("find", "/", "/run", "-xdev", "(", "-path", "/run/systemd", "-o", "-path", "/src", "-o", "-path", "/debs", "-o", "-path", "/out", ")",
                "-prune", "-o", "-name", "*hither*", "-print").stdout.split()
    return sorted(set(found))


def answered(name="first.load.test"):
    return "198.51.100." in dig("@127.0.0.1", "+short", name).stdout


def sockets():
    """The inodes of the sockets at UDP port 53 of 127.0.0.1."""
    lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
    return [line.split()[9] for line in lines if line.split()[1] == "0100007F:0035"]


def under_load(change, services):
    """Makes a change during a thousand queries a second: none is lost, and the services have new processes."""
    # The names are cached before, so that a slow machine answers them in time.
    run(sys.executable, "/src/systemd/load.py", str(RATE), "1", "100")
    held = sockets()
    before = {unit: prop(unit, "MainPID") for unit in services}
    queries = stats()["queries"]
    load = subprocess.Popen([sys.executable, "/src/systemd/load.py", str(RATE), str(SECONDS), "100"], stdout=subprocess.PIPE, text=True)
    until(lambda: stats()["queries"] > queries + RATE)
    change()
    check("the load still runs", load.poll() is None)
    for unit, old in before.items():
        check(f"{unit} has a new process", until(lambda unit=unit, old=old: prop(unit, "MainPID") not in ("0", old)))
    found = json.loads(load.communicate(timeout=60)[0])
    print(f"        {json.dumps(found)}")
    check("no query is lost", found["lost"] == 0 and found["refused"] == 0 and found["answered"] >= RATE * (SECONDS - 1), found)
    check("no query fails", found["failed"] == 0, found)
    check("the port was never closed", len(held) == 1 and sockets() == held, (held, sockets()))
