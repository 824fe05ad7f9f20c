"""Runs inside a service and tries what its sandbox must forbid. Prints, as a JSON object, "allowed" or the error of each probe."""
import ctypes, errno, json, mmap, os, pathlib, platform, resource, socket, subprocess

NUMBERS = {"x86_64": {"keyctl": 250, "personality": 135, "unshare": 272}, "aarch64": {"keyctl": 219, "personality": 92, "unshare": 97}}
CLONE_NEWUSER, PER_LINUX32, KEYCTL_GET_KEYRING_ID, SESSION = 0x10000000, 8, 0, -3
libc = ctypes.CDLL(None, use_errno=True)


def syscall(name, *args):
    ctypes.set_errno(0)
    if libc.syscall(NUMBERS[platform.machine()][name], *args) < 0:
        raise OSError(ctypes.get_errno(), name)


def refuse(condition, why):
    if condition:
        raise OSError(errno.EPERM, why)


def status(pattern):
    return pattern in pathlib.Path("/proc/self/status").read_text()


def write(path):
    pathlib.Path(path).write_text("x")


def bind(kind, port):
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", port))


def send(address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (address, 9))


def set_user_id():
    path = f"/tmp/set-user-id-{os.getpid()}"
    write(path)
    os.chmod(path, 0o4755)


def become_root():
    done = subprocess.run(["/usr/bin/probe-id", "-u"], capture_output=True, text=True)
    refuse(done.stdout.strip() != "0", done.stdout)


def foreign_call():
    done = subprocess.run(["/usr/bin/probe-32"], capture_output=True)
    refuse(done.returncode != 0, f"ended with {done.returncode}")


def namespace(kind):
    refuse(os.stat(f"/proc/self/ns/{kind}").st_ino != int(os.environ[f"HOST_{kind.upper()}"]), "another one")


def read_only(path):
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, path)


def realtime():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


PROBES = {
    "CapabilityBoundingSet: could have a capability": lambda: refuse(status("CapBnd:\t0000000000000000"), "none left"),
    "NoNewPrivileges: becomes root by a set-user-ID program": become_root,
    "PrivateUsers: sees whose a file is": lambda: refuse(os.stat("/etc/probe-owned").st_uid != 12345, "nobody's"),
    "RestrictSUIDSGID: makes a set-user-ID file": set_user_id,
    "ProtectSystem: writes to a directory of its own": lambda: write("/var/lib/probe/x"),
    "ProtectHome: reads in a home": lambda: pathlib.Path("/home/probe/file").read_text(),
    "PrivateTmp: reads the host's /tmp": lambda: pathlib.Path("/tmp/probe-file").read_text(),
    "TemporaryFileSystem: reads the host's /tmp": lambda: pathlib.Path("/tmp/probe-file").read_text(),
    "TemporaryFileSystem: writes to /var/tmp": lambda: write(f"/var/tmp/probe-{os.getpid()}"),
    "PrivateDevices: reads the host's /dev": lambda: pathlib.Path("/dev/probe-file").read_text(),
    "ProtectProc: looks at process 1": lambda: pathlib.Path("/proc/1/comm").read_text(),
    "InaccessiblePaths: writes to /dev/shm": lambda: write(f"/dev/shm/probe-{os.getpid()}"),
    "NoExecPaths: runs a program": lambda: subprocess.run(["/usr/sbin/nologin"], capture_output=True),
    "ProtectKernelTunables: has /proc/sys to write to": lambda: read_only("/proc/sys/net"),
    "ProtectControlGroups: has control groups to write to": lambda: read_only("/sys/fs/cgroup"),
    "PrivateIPC: shares the host's IPC": lambda: namespace("ipc"),
    "PrivateNetwork: shares the host's network": lambda: namespace("net"),
    "ProcSubset: reads what is of no process": lambda: pathlib.Path("/proc/meminfo").read_text(),
    "ProtectHostname: shares the host's name": lambda: namespace("uts"),
    "RestrictAddressFamilies: asks for AF_PACKET": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "RestrictAddressFamilies: asks for AF_ALG": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close(),
    "SocketBindDeny: takes a TCP port": lambda: bind(socket.SOCK_STREAM, 15353),
    "IPAddressDeny: sends to a link": lambda: send("169.254.1.2"),
    "IPAddressDeny: sends to this host": lambda: send("127.0.0.1"),
    "IPAddressDeny: sends to a private network": lambda: send("10.1.2.3"),
    "IPAddressDeny: sends to a private network by NAT64": lambda: send("64:ff9b::10.1.2.3"),
    "IPAddressDeny: sends to a private network by 6to4": lambda: send("2002:a01:203::1"),
    "IPAddressDeny: sends to a site": lambda: send("fec0::1"),
    "RestrictRealtime: becomes a real-time process": realtime,
    "RestrictNamespaces: makes a namespace": lambda: syscall("unshare", CLONE_NEWUSER),
    "LockPersonality: changes its personality": lambda: syscall("personality", PER_LINUX32),
    "SystemCallFilter: calls of @privileged": lambda: os.setresuid(os.getuid(), os.getuid(), os.getuid()),
    "SystemCallFilter: renames the host": lambda: socket.sethostname(socket.gethostname()),
    "SystemCallFilter: calls of @resources": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "SystemCallFilter: calls of @keyring": lambda: syscall("keyctl", KEYCTL_GET_KEYRING_ID, SESSION, 1),
    "SystemCallArchitectures: makes a 32-bit system call": foreign_call,
    "MemoryDenyWriteExecute: maps memory to write and run": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
    "LimitNOFILE: may open half a million files": lambda: refuse(resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= 20000, "fewer"),
    "LimitCORE: may leave a core": lambda: refuse(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, "none"),
    "UMask: leaves files that others may read": lambda: refuse(status("Umask:\t0077"), "0077"),
}
found = {}
for what, deed in PROBES.items():
    try:
        deed()
        found[what] = "allowed"
    except OSError as error:
        found[what] = f"{errno.errorcode.get(error.errno, error.errno)} ({error.strerror})"
print(json.dumps(found))
