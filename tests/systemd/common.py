"""Shared by the checks inside the container: reporting, waiting, queries, configuration."""
import json, os, pathlib, re, signal, subprocess, sys, threading, time

sys.path.insert(0, "/src/support")
failed = []
UNITS = ["hitherd.socket", "hitherd-control.socket", "hitherd-sorter.socket", "hitherd.service", "hither-sorter.service"]
# Units of the package hither-site.
SITE = ["hitherd-site.socket", "hither-site.service"]
# Units that are off until an operator enables them.
OFF = ["hither-metrics.socket", "hither-metrics@.service", "hither-changed@.service"]


def check(what, holds, detail=""):
    print(("ok      " if holds else "FAILED  ") + what + ("" if holds else f": {detail}"), flush=True)
    if not holds:
        failed.append(what)
    return holds


def skip(what, why):
    print(f"SKIPPED {what}: {why}", flush=True)


def run(*command, **kw):
    kw.setdefault("timeout", 60)
    return subprocess.run(command, capture_output=True, text=True, **kw)


def until(probe, seconds=15):
    """Polls until the value is true or the time is over. Returns the last value."""
    end = time.monotonic() + seconds
    while True:
        value = probe()
        if value or time.monotonic() > end:
            return value
        time.sleep(0.02)


def prop(unit, name):
    return run("systemctl", "show", "-p", name, "--value", unit).stdout.strip()


def version():
    """The version of systemd."""
    return int(run("systemctl", "--version").stdout.split()[1])


def journal(*units, since=None):
    which = [word for unit in units for word in ("-u", unit)]
    return run("journalctl", "-b", "-o", "cat", "--no-pager", *which, *(["--since", since] if since else [])).stdout


def ctl(*args):
    return run("hitherctl", *args)


def stats():
    return json.loads(ctl("stats", "--json").stdout)


def lookup(name):
    out = ctl("lookup", "--json", name, "A").stdout
    return json.loads(out) if out.strip() else {}


def dig(*args):
    return run("dig", "+time=4", "+tries=1", *args)


def configure(name, text):
    """Writes a drop-in of hither.toml."""
    path = pathlib.Path(f"/etc/hither/hither.toml.d/{name}.toml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def resolve_by(text):
    """Writes /etc/resolv.conf, and replaces a link by a file."""
    path = pathlib.Path("/etc/resolv.conf")
    path.unlink(missing_ok=True)
    path.write_text(text)


def drop_in(unit, text, name="90-check"):
    """Writes a drop-in of a unit and has systemd read it."""
    path = pathlib.Path(f"/etc/systemd/system/{unit}.d/{name}.conf")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    run("systemctl", "daemon-reload")
    return path


def prepare():
    """Does what a package does after unpacking."""
    run("ip", "link", "set", "lo", "up")
    for command in (["systemd-sysusers"], ["sysctl", "-q", "-p", "/usr/lib/sysctl.d/50-hither.conf"], ["systemctl", "daemon-reload"],
                    ["systemctl", "preset", *UNITS], ["systemctl", "start", "hitherd.socket", "hitherd-control.socket", "hitherd-sorter.socket"]):
        done = run(*command)
        check(" ".join(command), done.returncode == 0, done.stderr)


def main(*parts):
    for part in parts:
        try:
            part()
        except Exception as error:  # A part that raises is a failed check. The others still run.
            check(part.__name__, False, repr(error))
    print(f"{len(failed)} checks failed" if failed else "all checks hold", flush=True)
    sys.exit(1 if failed else 0)
