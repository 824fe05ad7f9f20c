//! The control groups of sockets, as the kernel says them.

#[path = "../../../tests/support/skip.rs"]
mod skip;

use hither_net::sock_diag::{Owner, Protocol, SockDiag};
use skip::skip;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// The id of the control group of this process; `None` without cgroup2.
fn own_cgroup() -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(std::path::PathBuf::from);
    let root = mounts.into_iter().find(|root| root.join("cgroup.procs").exists())?;
    std::fs::metadata(root.join(path)).ok().map(|found| found.ino())
}

#[test]
fn sockets_of_this_process_are_found_connected_or_not() {
    let Some(own) = own_cgroup() else {
        return skip("sockets_of_this_process_are_found_connected_or_not", "no cgroup2 is mounted");
    };
    let mut diag = SockDiag::new().expect("a socket");
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let server = UdpSocket::bind(address).expect("a socket");
        let at = server.local_addr().expect("an address");
        let loose = UdpSocket::bind(address).expect("a socket");
        let connected = UdpSocket::bind(address).expect("a socket");
        connected.connect(at).expect("connected");
        let anywhere = UdpSocket::bind(if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("a socket");
        for client in [&loose, &connected, &anywhere] {
            let port = client.local_addr().expect("an address").port();
            let client = SocketAddr::new(at.ip(), port);
            let found = match diag.owner(Protocol::Udp, client, at) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    return skip(
                        "sockets_of_this_process_are_found_connected_or_not",
                        "the kernel has no udp_diag",
                    );
                }
                found => found.expect("an answer"),
            };
            assert!(found == Owner::Cgroup(own) || found == Owner::NotSaid, "{client}: {found:?}");
        }
        let listener = TcpListener::bind(address).expect("a socket");
        let at = listener.local_addr().expect("an address");
        let stream = TcpStream::connect(at).expect("connected");
        let client = stream.local_addr().expect("an address");
        let found = diag.owner(Protocol::Tcp, client, at).expect("an answer");
        assert!(found == Owner::Cgroup(own) || found == Owner::NotSaid, "{client}: {found:?}");
        drop((stream, loose));
        let nobody = SocketAddr::new(at.ip(), 1);
        assert_eq!(diag.owner(Protocol::Udp, nobody, at).expect("an answer"), Owner::NoSocket);
        assert_eq!(diag.owner(Protocol::Tcp, nobody, at).expect("an answer"), Owner::NoSocket);
    }
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 4242));
    let server = SocketAddr::from(([127, 0, 0, 1], 53));
    assert_eq!(diag.owner(Protocol::Udp, elsewhere, server).expect("an answer"), Owner::NoSocket);
}
