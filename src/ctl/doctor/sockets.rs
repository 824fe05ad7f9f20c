//! Finds the processes that hold a port: by the kernel's tables of sockets and the descriptors of processes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A socket that receives queries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// The user that created it.
    pub uid: u32,
    /// The processes that have it open, as far as this user may see them.
    pub holders: Vec<Process>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

/// A process that holds a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Process {
    pub pid: u32,
    /// The kernel keeps at most 15 octets of it.
    pub name: String,
    /// The systemd service to which it belongs.
    pub service: Option<String>,
}

/// The kernel's tables, and the state of a socket that accepts queries from any client.
const TABLES: [(&str, Protocol, &str); 4] = [
    ("proc/net/udp", Protocol::Udp, "07"),
    ("proc/net/udp6", Protocol::Udp, "07"),
    ("proc/net/tcp", Protocol::Tcp, "0A"),
    ("proc/net/tcp6", Protocol::Tcp, "0A"),
];
/// The longest line that is read, in octets; the kernel writes at most 200.
const LINE_MAX: u64 = 1024;

/// The sockets at `ports`, with the processes that this user may see.
pub(super) fn held(root: &Path, ports: &[u16]) -> Vec<Held> {
    let mut found: BTreeMap<u64, Held> = BTreeMap::new();
    for (table, protocol, state) in TABLES {
        let Ok(file) = crate::host::files::open_regular(&root.join(table)) else { continue };
        each_line(BufReader::new(file), |line| {
            if let Some((inode, address, uid)) =
                socket(line, state).filter(|(_, a, _)| ports.contains(&a.port()))
            {
                found.insert(inode, Held { protocol, address, uid, holders: Vec::new() });
            }
        });
    }
    if !found.is_empty() {
        for pid in pids(root) {
            add_holder(root, pid, &mut found);
        }
    }
    let mut held: Vec<Held> = found.into_values().collect();
    held.sort_by_key(|held| (held.address, held.protocol));
    held
}

/// The ids of all processes.
pub(super) fn pids(root: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten().filter_map(Result::ok);
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// A process's name; `None` if it has ended.
pub(super) fn name(root: &Path, pid: u32) -> Option<String> {
    let text = crate::ctl::files::text(&root.join(format!("proc/{pid}/comm"))).ok()??;
    Some(text.trim_end().to_owned())
}

fn add_holder(root: &Path, pid: u32, found: &mut BTreeMap<u64, Held>) {
    let descriptors = std::fs::read_dir(root.join(format!("proc/{pid}/fd"))).into_iter().flatten();
    let links = descriptors.filter_map(Result::ok).filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let mut inodes: Vec<u64> = links.filter_map(|link| inode(link.to_str()?)).collect();
    inodes.sort_unstable();
    inodes.dedup();
    let mut process = None;
    for held in
        inodes.iter().filter_map(|inode| found.remove(inode).map(|held| (*inode, held))).collect::<Vec<_>>()
    {
        let (inode, mut held) = held;
        let process = process.get_or_insert_with(|| Process {
            pid,
            name: name(root, pid).unwrap_or_else(|| "?".to_owned()),
            service: service(root, pid),
        });
        held.holders.push(process.clone());
        found.insert(inode, held);
    }
}

/// The systemd service of a process, by its control group.
fn service(root: &Path, pid: u32) -> Option<String> {
    let text = crate::ctl::files::text(&root.join(format!("proc/{pid}/cgroup"))).ok()??;
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.find_map(|path| {
        let mut parts = path.strip_prefix("/system.slice/")?.split('/').rev();
        parts.find(|part| part.ends_with(".service")).map(str::to_owned)
    })
}

fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Calls `with` for every line, including the heading. Longer lines than the kernel writes are ignored.
fn each_line(mut table: impl BufRead, mut with: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut is_start = true;
    loop {
        line.clear();
        match table.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let ends = line.last() == Some(&b'\n') || (line.len() as u64) < LINE_MAX;
                if is_start
                    && ends
                    && let Ok(text) = std::str::from_utf8(&line)
                {
                    with(text);
                }
                is_start = ends;
            }
        }
    }
}

/// Inode, address and owner of a line, if its socket is in `state`.
fn socket(line: &str, state: &str) -> Option<(u64, SocketAddr, u32)> {
    let mut words = line.split_whitespace();
    let address = address(words.nth(1)?)?;
    let (is, uid, inode) = (words.nth(1)?, words.nth(3)?, words.nth(1)?);
    (is == state).then_some((inode.parse().ok()?, address, uid.parse().ok()?))
}

/// `0100007F:0035`: words of 32 bits in the host's order of octets, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let digits = ip.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let octets: [u8; 16] = words.as_flattened().try_into().ok()?;
            IpAddr::from(octets)
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{TcpListener, UdpSocket};

    impl Held {
        /// From `udp 127.0.0.1:53 1 systemd,812 hitherd`.
        pub fn some(texts: &[&str]) -> Vec<Held> {
            let process = |text: &str| {
                let (pid, name) = text.split_once(' ').expect("a process");
                let service = (pid != "1").then(|| format!("{name}.service"));
                Process { pid: pid.parse().expect("a number"), name: name.to_owned(), service }
            };
            let one = |text: &&str| {
                let mut words = text.splitn(3, ' ');
                let protocol = if words.next() == Some("udp") { Protocol::Udp } else { Protocol::Tcp };
                let address = words.next().expect("an address").parse().expect("an address");
                let holders =
                    words.next().map(|all| all.split(',').map(process).collect()).unwrap_or_default();
                Held { protocol, address, uid: 0, holders }
            };
            texts.iter().map(one).collect()
        }
    }

    #[test]
    fn sockets_of_this_process_are_found_with_it() {
        let sockets =
            (UdpSocket::bind("127.0.0.1:0").expect("a port"), TcpListener::bind("[::1]:0").expect("a port"));
        let addresses = [sockets.0.local_addr().expect("bound"), sockets.1.local_addr().expect("bound")];
        let held = held(Path::new("/"), &addresses.map(|address| address.port()));
        for (address, protocol) in addresses.into_iter().zip([Protocol::Udp, Protocol::Tcp]) {
            let ours = held.iter().find(|held| held.address == address && held.protocol == protocol);
            let holders = ours.map(|held| held.holders.clone()).expect("in the table");
            assert!(holders.iter().any(|holder| holder.pid == std::process::id()), "{holders:?}");
        }
    }

    #[test]
    fn a_line_is_read_as_the_kernel_writes_it() {
        let udp = "  512: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 23456 2 0000000000000000 0\n";
        assert_eq!(socket(udp, "07"), Some((23456, "127.0.0.1:53".parse().expect("an address"), 101)));
        assert_eq!(socket(udp, "0A"), None);
        let tcp6 = "   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1";
        assert_eq!(socket(tcp6, "0A"), Some((9, "[::1]:53".parse().expect("an address"), 0)));
        assert_eq!(inode("socket:[77]"), Some(77));
        assert_eq!(inode("anon_inode:[eventpoll]"), None);
    }

    #[test]
    fn a_process_belongs_to_the_service_of_its_control_group() {
        let root = std::env::temp_dir().join(format!("hither-cgroup-{}", std::process::id()));
        for (pid, text) in [
            (1, "0::/init.scope\n"),
            (2, "0::/system.slice/dnsmasq.service\n"),
            (3, "12:pids:/x\n1:name=systemd:/system.slice/system-unbound.slice/unbound@a.service/sub\n"),
            (4, "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service\n"),
        ] {
            std::fs::create_dir_all(root.join(format!("proc/{pid}"))).expect("a directory");
            std::fs::write(root.join(format!("proc/{pid}/cgroup")), text).expect("written");
        }
        let services: Vec<Option<String>> = pids(&root).iter().map(|pid| service(&root, *pid)).collect();
        let expected = [None, Some("dnsmasq.service"), Some("unbound@a.service"), None];
        assert_eq!(services, expected.map(|name| name.map(str::to_owned)));
        std::fs::remove_dir_all(root).expect("removable");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_as_a_table(octets in prop::collection::vec(any::<u8>(), 0..4000), cut in 0usize..160) {
            each_line(octets.as_slice(), |line| {
                let _ = socket(line, "07");
            });
            let line = "  512: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 23456 2";
            let _ = socket(&line[..cut.min(line.len())], "07");
            let text = String::from_utf8_lossy(&octets).into_owned();
            let _ = (address(&text), inode(&text));
        }
    }

    #[test]
    fn an_endless_line_takes_no_memory() {
        let mut lines = Vec::new();
        let endless = std::io::repeat(b'x').take(10 << 20);
        each_line(BufReader::new(endless.chain(&b"\nlast\n"[..])), |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["last\n"]);
    }
}
