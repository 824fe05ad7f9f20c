//! The units that ask: a process in a control group whose name is that of a unit.

use crate::support::{Daemon, skip};
use crate::top::{report, request};
use crate::upstream;
use hither_control::{Request, Response};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Moves itself into the control group, asks by UDP, connected or not, or by TCP, awaits the reply, and
/// keeps its socket until its input ends: the kernel does not know whose a closed one was.
const CLIENT: &str = r#"
import os, socket, struct, sys
group, host, port, name, how = sys.argv[1:]
open(os.path.join(group, "cgroup.procs"), "w").write(str(os.getpid()))
labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
kind = socket.SOCK_STREAM if how == "tcp" else socket.SOCK_DGRAM
client = socket.socket(socket.AF_INET, kind)
client.settimeout(20)
if how == "loose":
    client.sendto(query, (host, int(port)))
else:
    client.connect((host, int(port)))
    client.send(struct.pack(">H", len(query)) + query if how == "tcp" else query)
assert client.recv(512)
print("replied", flush=True)
sys.stdin.read()
"#;

/// A control group that looks like that of a unit.
struct Group(PathBuf);

impl Group {
    /// `None`: there is no cgroup2 where one may be made.
    fn new(name: &str) -> Option<Group> {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let mount = mounts.into_iter().find(|mount| mount.join("cgroup.procs").exists())?;
        let path = mount.join(name);
        std::fs::create_dir(&path).ok().map(|()| Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn the_unit_of_a_client_is_found_by_its_socket() {
    let test = "the_unit_of_a_client_is_found_by_its_socket";
    let unit = format!("hither-asker-{}.service", std::process::id());
    let Some(group) = Group::new(&unit) else { return skip(test, "no cgroup2 in which a group may be made") };
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "[log]\nqueries = \"misses\"\n");
    report(&daemon);
    for how in ["loose", "connected", "tcp"] {
        let (host, port) = (daemon.server.ip().to_string(), daemon.server.port().to_string());
        let name = format!("{how}.example");
        let mut client = Command::new("python3");
        client.args(["-c", CLIENT]).arg(&group.0).args([&host, &port, &name, how]);
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut said = String::new();
        BufReader::new(client.stdout.take().expect("piped")).read_line(&mut said).expect("a line");
        assert_eq!(said, "replied\n");
        daemon.until("the log names the unit", |daemon| {
            daemon.log().contains(&format!("of {unit} asked for {name}. A: NOERROR from upstream"))
        });
        let seen = report(&daemon);
        let name = seen.names.iter().find(|known| known.name == format!("{name}.")).expect("it is counted");
        assert_eq!((name.units[0].unit.as_str(), name.units[0].misses), (unit.as_str(), 1), "{seen:?}");
        assert_eq!(seen.units_unknown, None);
        drop(client.stdin.take());
        assert!(client.wait().expect("a child").success());
    }
    let seen = report(&daemon);
    assert!(seen.units.iter().any(|known| known.unit == unit && known.misses == 3), "{seen:?}");
    let explain = Request::Explain { name: "tcp.example".to_owned(), rtype: "A".to_owned() };
    let Response::Explained(Some(said)) = request(&daemon, &explain) else { panic!("not explained") };
    assert_eq!((said.asked_by.units[0].unit.as_str(), said.asked_by.units[0].queries), (unit.as_str(), 1));
}

#[test]
fn other_users_are_shown_names_and_no_units() {
    if !nix::unistd::geteuid().is_root() {
        return skip("other_users_are_shown_names_and_no_units", "needs root, to become another user");
    }
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    report(&daemon);
    daemon.ask("www.example");
    daemon.until("the query is counted", |daemon| report(daemon).queries == 1);
    for path in [daemon.dir.clone(), daemon.dir.join("run")] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let socket = daemon.dir.join("run/control.sock");
    let script = r#"
import socket, sys
near = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
near.connect(sys.argv[1])
for message in ['{"top":{}}', '{"explain":{"name":"www.example","rtype":"A"}}']:
    near.send(message.encode())
    print(near.recv(65536).decode())
"#;
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        script,
    ]);
    let output = command.arg(socket).output().expect("setpriv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let mut lines =
        said.lines().map(|line| hither_control::decode::<Response>(line.as_bytes()).expect("ours"));
    let why = Some("only root and the daemon's user are shown the units".to_owned());
    let Some(Response::Top(seen)) = lines.next() else { panic!("{said}") };
    assert_eq!((seen.names[0].name.as_str(), seen.names[0].units.len()), ("www.example.", 0));
    assert_eq!((seen.units.len(), &seen.units_unknown), (0, &why));
    let Some(Response::Explained(Some(known))) = lines.next() else { panic!("{said}") };
    assert_eq!((known.asked_by.units.len(), &known.asked_by.unknown), (0, &why));
}
