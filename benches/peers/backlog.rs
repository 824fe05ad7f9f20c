//! The rate at which a server answers a backlog: queries that were queued while it was stopped. The
//! load sleeps meanwhile, so that the server has both cores of a small machine.

use super::servers::Server;
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

const CLIENTS: usize = 64;
/// Queries of each client in a backlog. More would not fit into the receive queue of one worker's socket.
const EACH: usize = 80;

/// Replies a second, by the kernel's time stamps. Only the 5th to the 65th percent of the replies are
/// counted: clients are not spread evenly over the server's threads, and the last replies come from
/// fewer threads.
pub fn rate(server: &Server) -> f64 {
    let clients: Vec<UdpSocket> = (0..CLIENTS).map(|_| client(server)).collect();
    let id = nix::unistd::Pid::from_raw(server.id() as i32);
    kill(id, Signal::SIGSTOP).expect("it runs");
    std::thread::sleep(Duration::from_millis(20));
    for n in 0..CLIENTS * EACH {
        let mut out = [0; 300];
        let name = format!("h{:08}.bench.example", n % 1000).parse().expect("a name");
        let bits = QueryBits { rd: true, cd: false, edns: None };
        let len = query(&mut out, n as u16, &Asked { name: &name, rtype: Rtype::A }, bits);
        clients[n % CLIENTS].send(&out[..len]).expect("sent");
    }
    kill(id, Signal::SIGCONT).expect("it runs");
    std::thread::sleep(Duration::from_millis(200));
    let mut times: Vec<u128> = clients.iter().flat_map(stamps).collect();
    times.sort_unstable();
    let (from, to) = (times.len() / 20, times.len() * 13 / 20);
    match (times.get(from), times.get(to)) {
        (Some(first), Some(last)) if last > first => (to - from) as f64 * 1e9 / (last - first) as f64,
        _ => f64::NAN,
    }
}

fn client(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("an option");
    socket.connect(server.address).expect("a route");
    socket.set_nonblocking(true).expect("an option");
    socket
}

/// The time at which each reply was received, by the kernel.
fn stamps(socket: &UdpSocket) -> Vec<u128> {
    let mut all = Vec::new();
    loop {
        let mut buffer = [0; 512];
        let mut vectors = [IoSliceMut::new(&mut buffer)];
        let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
        let got = recvmsg::<()>(socket.as_raw_fd(), &mut vectors, Some(&mut space), MsgFlags::MSG_DONTWAIT);
        let Ok(message) = got else { return all };
        let stamp = message.cmsgs().into_iter().flatten().find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at).as_nanos()),
            _ => None,
        });
        all.extend(stamp);
    }
}
