"""The Debian packages: installed, upgraded under load, removed, purged, and installed where another server has port 53.

The container begins without hither.
"""
import ctypes, json, os, pathlib, re, socket, subprocess, time

from common import OFF, UNITS, check, configure, ctl, main, prop, run, until
from installing import DEBS, answered, deb, dpkg, files, leftovers, sockets, under_load

CONFIG = pathlib.Path("/etc/hither/hither.toml")
NSSWITCH = pathlib.Path("/etc/nsswitch.conf")


def start():
    from upstream import serve
    run("ip", "link", "set", "lo", "up")
    check("the container has no file of hither", leftovers() == [], leftovers())
    serve(5300)
    configure("10", '[[upstream]]\naddress = "127.0.0.1:5300"\n')


def install():
    before = NSSWITCH.read_bytes()
    begin = time.monotonic()
    dpkg("-i", deb("hither"))
    done = time.monotonic()
    check("the first query is answered", answered())
    end = time.monotonic()
    print(f"        {done - begin:.2f} s to install, then {end - done:.3f} s to the first answer")
    check("the first answer takes less than two seconds", end - done < 2)
    brought = [os.path.basename(path) for path in files("hither") if "/systemd/system/" in path]
    check("the package contains the units", sorted(brought) == sorted(UNITS + OFF), brought)
    for unit in UNITS:
        state = (prop(unit, "UnitFileState"), prop(unit, "ActiveState"))
        check(f"{unit} is enabled and active", state == ("enabled", "active"), state)
    for unit in OFF:
        state = run("systemctl", "is-enabled", unit).stdout.strip()
        check(f"{unit} is off", state in ("disabled", "static") and (unit.endswith("@.service") or prop(unit, "ActiveState") == "inactive"), state)
    failed = run("systemctl", "--failed", "--no-legend", "--plain").stdout
    check("no unit has failed", "hither" not in failed, failed)
    check("both users exist", run("id", "hither").returncode == 0 and run("id", "hither-sorter").returncode == 0)
    check("ICMP is allowed", pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text().split() != ["1", "0"])
    check("the installation leaves nsswitch.conf alone", NSSWITCH.read_bytes() == before)
    check("journald has the catalogue", "hither" in run("journalctl", "--list-catalog").stdout)
    connected = until(lambda: json.loads(ctl("status", "--json").stdout or "{}").get("sorter", {}).get("connected"))
    check("the sorter is connected", connected, ctl("status").stdout + ctl("status").stderr)
    reload = run("systemctl", "reload", "hitherd.service")
    check("reload works", reload.returncode == 0, reload.stderr)


def library():
    dpkg("-i", deb("libhither1"), deb("libhither-dev"))
    check("the library can be loaded", hasattr(ctypes.CDLL("libhither.so.1"), "hither_lookup"))
    dpkg("-P", "libhither-dev", "libhither1")


def upgrade():
    """Installs a higher version during a thousand queries a second."""
    CONFIG.write_text(CONFIG.read_text() + "\n# the operator's own line\n")
    under_load(lambda: dpkg("-i", deb("hither", DEBS / "next")), [unit for unit in UNITS if unit.endswith(".service")])
    check("dpkg reports the new version", run("dpkg-query", "-f", "${Version}", "-W", "hither").stdout.endswith("+next"))
    check("the operator's configuration stays", CONFIG.read_text().endswith("# the operator's own line\n"))


def remove():
    """After a removal nothing runs or is installed, except the configuration."""
    gone = [path for path in files("hither") if not path.startswith("/etc/")]
    check("the package has files", "/usr/sbin/hitherd" in gone, gone)
    before = NSSWITCH.read_bytes()
    check("enable-nss adds the module", ctl("enable-nss").returncode == 0 and b"hither" in NSSWITCH.read_bytes())
    run("systemctl", "start", "hither-metrics.socket")
    dpkg("-r", "hither")
    check("a removal stops the metrics socket", prop("hither-metrics.socket", "ActiveState") == "inactive", prop("hither-metrics.socket", "ActiveState"))
    check("a removal restores nsswitch.conf", NSSWITCH.read_bytes() == before, NSSWITCH.read_text())
    left = [path for path in gone if os.path.lexists(path)]
    check("its files are gone", not left, left)
    for unit in UNITS:
        check(f"{unit} does not run", prop(unit, "ActiveState") == "inactive", prop(unit, "ActiveState"))
    check("its port is free", sockets() == [])
    left = [path for path in leftovers() if path.startswith("/run/")]
    check("nothing is left in /run", not left, left)
    check("the configuration stays", CONFIG.exists())


def purge():
    """A purge removes everything but a drop-in of the operator."""
    dpkg("-i", deb("hither"))
    check("hitherd answers after a new installation", answered())
    dpkg("-P", "hither")
    check("only the operator's drop-in is left", leftovers() == ["/etc/hither", "/etc/hither/hither.toml.d"], leftovers())
    known = run("systemctl", "list-units", "--all", "--no-legend", "hither*").stdout + run("systemctl", "list-unit-files", "--no-legend", "hither*").stdout
    check("systemd knows no unit of hither", known == "", known)


def advice():
    """A removal undoes the changes of enable-nss and enable-resolv, so that the host finds names as before."""
    dpkg("-i", deb("hither"))
    resolv, nsswitch = pathlib.Path("/etc/resolv.conf"), NSSWITCH.read_bytes()
    manager, resolved = pathlib.Path("/etc/NetworkManager/conf.d/hither.conf"), pathlib.Path("/etc/systemd/resolved.conf.d/hither.conf")
    sysctl = pathlib.Path("/etc/sysctl.d/50-hither.conf")
    until(lambda: json.loads(ctl("status", "--json").stdout or "{}").get("pid"))

    def by_manager():
        run("systemctl", "unmask", "NetworkManager.service")
        run("systemctl", "start", "NetworkManager.service")
        until(lambda: os.path.exists("/run/NetworkManager/resolv.conf"))
        resolv.unlink(missing_ok=True)
        resolv.symlink_to("/run/NetworkManager/resolv.conf")
        done = ctl("enable-resolv")
        check("enable-resolv tells NetworkManager to leave resolv.conf alone", done.returncode == 0 and manager.exists() and not resolv.is_symlink() and "nameserver 127.0.0.1" in resolv.read_text(), done.stdout + done.stderr)
        check("enable-resolv announces its effects", "takes away: NetworkManager no longer writes resolv.conf" in done.stdout and "the link to /run/Net" in done.stdout, done.stdout)

    def by_resolved():
        run("systemctl", "unmask", "systemd-resolved.service")
        run("systemctl", "start", "systemd-resolved.service")
        resolv.unlink(missing_ok=True)
        resolv.symlink_to("../run/systemd/resolve/stub-resolv.conf")
        done = ctl("enable-resolv")
        check("enable-resolv makes systemd-resolved forward", done.returncode == 0 and resolved.exists(), done.stdout + done.stderr)

    by_manager()
    check("enable-nss", ctl("enable-nss").returncode == 0)
    dpkg("-r", "hither")
    check("a removed package leaves resolv.conf to NetworkManager again", resolv.is_symlink() and str(resolv.readlink()) == "/run/NetworkManager/resolv.conf" and not manager.exists(), resolv)
    run("systemctl", "stop", "NetworkManager.service")
    dpkg("-i", deb("hither"))
    by_resolved()
    sysctl.write_text("net.ipv4.ping_group_range = 0 2147483647\n")
    dpkg("-P", "hither")
    check("after a purge systemd-resolved asks its previous servers", not resolved.exists() and "127.0.0.1" not in pathlib.Path("/run/systemd/resolve/resolv.conf").read_text(), resolved)
    check("a purge restores nsswitch.conf", NSSWITCH.read_bytes() == nsswitch)
    check("nothing is left of these changes", leftovers() == ["/etc/hither", "/etc/hither/hither.toml.d"], leftovers())
    run("systemctl", "stop", "systemd-resolved.service")
    # The operator replaced resolv.conf meanwhile. The other files are still removed.
    dpkg("-i", deb("hither"))
    by_manager()
    resolv.unlink()
    resolv.write_text("nameserver 192.0.2.1\n")
    pathlib.Path("/usr/bin/hitherctl").rename("/usr/bin/hitherctl.away")
    done = run("dpkg", "-P", "hither", stdin=subprocess.DEVNULL, timeout=120)
    pathlib.Path("/usr/bin/hitherctl.away").unlink(missing_ok=True)
    check("a purge without hitherctl does the same", done.returncode == 0 and not manager.exists() and not os.path.lexists("/etc/resolv.conf.hither-backup"), done.stdout + done.stderr)
    dpkg("-i", deb("hither"))
    resolv.write_text("nameserver 192.0.2.1\n")
    ctl("enable-resolv")
    check("enable-resolv puts hitherd first in a plain resolv.conf", resolv.read_text().startswith("nameserver 127.0.0.1\n"), resolv.read_text())
    resolv.write_text("nameserver 127.0.0.1\n")
    pathlib.Path("/usr/bin/hitherctl").rename("/usr/bin/hitherctl.away")
    run("dpkg", "-r", "hither", stdin=subprocess.DEVNULL, timeout=120)
    pathlib.Path("/usr/bin/hitherctl.away").unlink(missing_ok=True)
    check("a removal restores a resolv.conf that names only hitherd", resolv.read_text() == "nameserver 192.0.2.1\n", resolv.read_text())
    done = run("dpkg", "-P", "hither", stdin=subprocess.DEVNULL, timeout=120)
    check("a purge names the files that it leaves", "/etc/hither/hither.toml.d/10.toml stays" in done.stderr, done.stderr)
    run("systemctl", "stop", "NetworkManager.service")
    resolv.unlink()


def private():
    """`hitherd --check` reports files that user hither cannot read."""
    dpkg("-i", deb("hither"))
    folder = pathlib.Path("/etc/hither/private")
    folder.mkdir(mode=0o700)
    (folder / "list").write_text("a.example\n")
    extra = configure("20", '[[block]]\nfiles = ["/etc/hither/private/list"]\n')
    done = run("hitherd", "--check")
    check("--check by root names the directory that keeps user hither out", done.returncode == 0 and "'/etc/hither/private/list'" in done.stderr and "'/etc/hither/private'" in done.stderr, done.stderr)
    extra.chmod(0o600)
    done = run("hitherd", "--check")
    check("--check fails if hitherd would not start", done.returncode == 78 and "20.toml" in done.stderr and "would not start" in done.stderr, done.stderr)
    extra.unlink()
    run("rm", "-r", str(folder))
    done = run("hitherd", "--check")
    check("--check prints nothing if all is well", done.returncode == 0 and done.stderr == "", done.stderr)
    dpkg("-P", "hither")


def taken():
    """Another server has the port: the installation succeeds and says what to do."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 53))
        done = dpkg("-i", deb("hither"))
        check("the installation names port 53 and hitherctl doctor", "port 53" in done.stderr and "hitherctl doctor" in done.stderr, done.stderr)
        check("the socket has failed", prop("hitherd.socket", "ActiveState") == "failed")
        check("the package is installed", run("dpkg-query", "-f", "${db:Status-Status}", "-W", "hither").stdout == "installed")
    # The last such line is from our script. systemd prints others if a start limit is reached.
    told = (re.findall(r"systemctl start (hither[^\n]*)", done.stderr) or [""])[-1].split()
    done = run("systemctl", "start", *told)
    check("the printed command starts it: " + " ".join(told), done.returncode == 0 and answered(), done.stderr)
    configure("10", "").unlink()
    dpkg("-P", "hither")
    check("no file of hither is left", leftovers() == [], leftovers())


main(start, install, library, upgrade, remove, purge, advice, private, taken)
