//! The state of systemd units, read by systemctl(1) with a timeout and without starting anything.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The systemd of this host.
#[derive(Debug)]
pub(super) enum Systemd {
    /// systemd is not process 1.
    Absent,
    /// systemctl(1) fails, for this reason.
    Silent(String),
    Running(Units),
}

/// The units that doctor judges.
#[derive(Clone, Default, Debug)]
pub(super) struct Units {
    pub units: BTreeMap<String, Unit>,
    /// The addresses at which systemd listens, each with its socket unit.
    pub sockets: Vec<(SocketAddr, String)>,
}

/// The state of one unit.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    /// The property `LoadState`, such as `loaded` or `not-found`.
    pub load: String,
    /// The property `ActiveState`, such as `active` or `failed`.
    pub active: String,
    /// The property `UnitFileState`, such as `enabled`.
    pub file: String,
    /// The addresses of a socket unit.
    pub listen: Vec<SocketAddr>,
}

/// The units that doctor judges.
const UNITS: [&str; 9] = [
    "hitherd.socket",
    "hitherd-control.socket",
    "hitherd.service",
    "hither-sorter.service",
    "hither-site.service",
    "systemd-resolved.service",
    "NetworkManager.service",
    "nscd.service",
    "nsncd.service",
];
/// The timeout of systemctl.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most octets that are read of its output.
const OUTPUT_MAX: u64 = 1 << 20;

impl Units {
    /// A unit, if it is installed.
    pub fn get(&self, name: &str) -> Option<&Unit> {
        self.units.get(name).filter(|unit| unit.load != "not-found" && !unit.load.is_empty())
    }
}

impl Unit {
    /// Whether it is active or becoming so.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
    }

    /// Whether it is started at boot, by itself or by another unit.
    pub fn is_enabled(&self) -> bool {
        matches!(
            self.file.as_str(),
            "enabled" | "enabled-runtime" | "static" | "indirect" | "generated" | "alias"
        )
    }
}

/// Reads the units by `systemctl`, a program's name or path.
pub(super) fn systemd(root: &Path, systemctl: &Path) -> Systemd {
    if !root.join("run/systemd/system").is_dir() {
        return Systemd::Absent;
    }
    if root != Path::new("/") {
        return Systemd::Silent("only the systemd of this host can be asked".to_owned());
    }
    let show =
        [&["show", "--no-pager", "--property=Id,LoadState,ActiveState,UnitFileState,Listen"], &UNITS[..]];
    let outputs = output(systemctl, &show.concat()).and_then(|units| {
        Ok((units, output(systemctl, &["list-sockets", "--no-pager", "--no-legend", "--full"])?))
    });
    match outputs {
        Ok((units, sockets)) => {
            Systemd::Running(Units { units: read_units(&units), sockets: read_sockets(&sockets) })
        }
        Err(why) => Systemd::Silent(format!("{}: {why}", systemctl.display())),
    }
}

/// Runs a program and returns its output.
fn output(program: &Path, words: &[&str]) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(words)
        .env("LC_ALL", "C")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut octets = Vec::new();
            let read = pipe.take(OUTPUT_MAX).read_to_end(&mut octets).map(|_| octets);
            // Fails after the timeout, when nothing waits for the output.
            sender.send(read)
        });
    }
    let received = receiver.recv_timeout(TIMEOUT);
    if received.is_err() {
        // This fails if the program has just ended.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match received {
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(_)) if !status.success() => Err(format!("failed, {status}")),
        Ok(Ok(octets)) => Ok(String::from_utf8_lossy(&octets).into_owned()),
    }
}

/// Reads the output of `systemctl show`: the properties of each unit, with empty lines between units.
fn read_units(text: &str) -> BTreeMap<String, Unit> {
    let mut units = BTreeMap::new();
    for block in text.split("\n\n") {
        let mut unit = Unit::default();
        let mut id = None;
        for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "Id" => id = Some(value.to_owned()),
                "LoadState" => value.clone_into(&mut unit.load),
                "ActiveState" => value.clone_into(&mut unit.active),
                "UnitFileState" => value.clone_into(&mut unit.file),
                // One line for each socket: `127.0.0.1:53 (Datagram)`.
                "Listen" => unit
                    .listen
                    .extend(value.split_whitespace().next().and_then(|word| word.parse::<SocketAddr>().ok())),
                _ => {}
            }
        }
        unit.listen.sort_unstable();
        unit.listen.dedup();
        if let Some(id) = id {
            units.insert(id, unit);
        }
    }
    units
}

/// Reads the output of `systemctl list-sockets`: address, socket unit, started unit. Addresses of
/// other kinds are ignored.
fn read_sockets(text: &str) -> Vec<(SocketAddr, String)> {
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.split('%').collect::<Vec<_>>();
        // `127.0.0.53%lo:53` has the name of a link between address and port.
        let address = match address.as_slice() {
            [address] => (*address).to_owned(),
            [ip, rest] => format!("{ip}{}", rest.trim_start_matches(|c: char| c != ':' && c != ']')),
            _ => return None,
        };
        Some((address.parse().ok()?, words.next()?.to_owned()))
    };
    text.lines().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Units {
        /// A unit that is installed.
        pub fn put(&mut self, name: &str, active: &str, file: &str) {
            let unit =
                Unit { load: "loaded".into(), active: active.into(), file: file.into(), listen: Vec::new() };
            self.units.insert(name.to_owned(), unit);
        }
    }

    #[test]
    fn the_output_of_systemctl_is_read() {
        let units = read_units(
            "Id=hitherd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nListen=127.0.0.1:53 (Datagram)\nListen=127.0.0.1:53 (Stream)\nListen=[::1]:53 (Datagram)\nListen=/run/x (Stream)\n\nId=nscd.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n",
        );
        let listen = ["127.0.0.1:53", "[::1]:53"].map(|text| text.parse().expect("an address"));
        assert_eq!(units["hitherd.socket"].listen, listen);
        assert!(units["hitherd.socket"].is_active() && units["hitherd.socket"].is_enabled());
        let units = Units { units, sockets: Vec::new() };
        assert!(units.get("nscd.service").is_none() && units.get("other.service").is_none());
        let sockets = read_sockets(
            "/run/dbus/system_bus_socket dbus.socket dbus.service\n127.0.0.53%lo:53 a.socket a.service\n[::1]:53 hitherd.socket hitherd.service\nkobject-uevent 1 systemd-udevd-kernel.socket systemd-udevd.service\n\n",
        );
        let expected = [("127.0.0.53:53", "a.socket"), ("[::1]:53", "hitherd.socket")];
        assert_eq!(sockets, expected.map(|(a, unit)| (a.parse().expect("an address"), unit.to_owned())));
    }

    #[test]
    fn a_systemctl_that_fails_or_is_missing_is_an_error() {
        let run = |program: &str, words: &[&str]| output(Path::new(program), words);
        assert_eq!(run("/bin/sh", &["-c", "echo Id=x"]).as_deref(), Ok("Id=x\n"));
        assert!(run("/bin/sh", &["-c", "exit 3"]).expect_err("it failed").contains("exit status: 3"));
        assert!(run("/nonexistent/systemctl", &[]).is_err());
    }

    #[test]
    fn the_systemd_of_another_host_is_not_asked() {
        let root = std::env::temp_dir().join(format!("hither-units-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a directory");
        assert!(matches!(systemd(&root, Path::new("/bin/false")), Systemd::Absent));
        std::fs::create_dir_all(root.join("run/systemd/system")).expect("a directory");
        assert!(matches!(systemd(&root, Path::new("/bin/false")), Systemd::Silent(_)));
        std::fs::remove_dir_all(root).expect("removable");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([a-z%:.=\\[\\] 0-9\n]|Id=|Listen=){0,100}") {
            let _ = (read_units(&text), read_sockets(&text));
        }
    }
}
