//! Times that the kernel notes: the round-trip time of a TCP handshake, and when a datagram was received.
//! They do not grow when the process that asks for them is slow.

use crate::raw::tcp_rtt_us;
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use nix::sys::time::TimeSpec;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The round-trip time of the handshake of a TCP connection. `None` if the kernel has not measured it: the
/// socket is not connected, or a segment of the handshake was lost.
#[must_use]
pub fn handshake_rtt(stream: &impl AsRawFd) -> Option<Duration> {
    let micros = tcp_rtt_us(stream).ok().filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(u64::from(micros)))
}

/// Has the kernel note when it receives datagrams for this socket (SO_TIMESTAMPNS). For the first socket of
/// a host that wants this, the kernel begins some milliseconds later.
///
/// # Errors
/// That of the kernel.
pub fn note_arrivals(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, ReceiveTimestampns, &true)?)
}

/// Receives a datagram: its octets, and how long it waited for that. The wait is zero where the kernel has
/// noted no time, or the wall clock was set back meanwhile.
///
/// # Errors
/// That of the kernel; `WouldBlock` if there is no datagram.
pub fn receive(socket: &impl AsRawFd, octets: &mut [u8]) -> io::Result<(usize, Duration)> {
    let (mut parts, mut control) = ([IoSliceMut::new(octets)], cmsg_space!(TimeSpec));
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let noted = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmTimestampns(at) => Some(at),
        _ => None,
    });
    let waited = noted.map_or(Duration::ZERO, waited_since);
    Ok((message.bytes, waited))
}

/// The time since a time of the wall clock.
fn waited_since(at: TimeSpec) -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME).unwrap_or(at);
    let waited = now - at;
    if waited < TimeSpec::new(0, 0) { Duration::ZERO } else { Duration::from(waited) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn the_time_for_which_a_datagram_waited_is_known() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        note_arrivals(&socket).expect("an option");
        let (address, mut octets) = (socket.local_addr().expect("bound"), [0; 16]);
        let (wait, end) = (Duration::from_millis(30), now().plus(Duration::from_secs(20)));
        loop {
            socket.send_to(b"ping", address).expect("sent");
            std::thread::sleep(wait);
            let (length, waited) = receive(&socket, &mut octets).expect("a datagram");
            assert_eq!(&octets[..length], b"ping");
            if waited >= wait {
                return assert!(waited < Duration::from_secs(20), "{waited:?}");
            }
            assert!(now() < end, "the kernel notes no times: {waited:?}");
        }
    }

    #[test]
    fn the_kernel_has_measured_the_handshake_of_a_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let late = Duration::from_millis(300);
        std::thread::sleep(late);
        let rtt = handshake_rtt(&stream).expect("measured");
        assert!(rtt < late, "{rtt:?}");
        assert_eq!(handshake_rtt(&listener), None);
        assert_eq!(handshake_rtt(&UdpSocket::bind("127.0.0.1:0").expect("a port")), None);
    }
}
