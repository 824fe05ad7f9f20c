//! A stream of frames to a collector (Frame Streams, as libfstrm has them), with the handshake of both
//! sides. These few lines stand here since the crates for it need an async runtime or lack the
//! handshake.

use hither_net::clock;
use hither_table::Monotonic;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The content of the frames.
const CONTENT_TYPE: &[u8] = b"protobuf:dnstap.Dnstap";
/// FSTRM_CONTROL_ACCEPT, _START, _STOP, _READY, _FINISH, and FSTRM_CONTROL_FIELD_CONTENT_TYPE.
const ACCEPT: u32 = 1;
const START: u32 = 2;
const STOP: u32 = 3;
const READY: u32 = 4;
const FINISH: u32 = 5;
const FIELD_CONTENT_TYPE: u32 = 1;
/// Octets of a control frame.
const CONTROL_MAX: usize = 512;
/// How long a collector may take nothing.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// How long the whole handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(2);
/// How often a wait looks whether it shall stop, in milliseconds.
const LOOK_EVERY_MS: u8 = 50;
/// How long it is waited for at the end.
const FINISH_WITHIN: Duration = Duration::from_millis(200);

/// A connection to a collector that accepts frames.
#[derive(Debug)]
pub(super) struct FrameStream(BufWriter<UnixStream>);

impl FrameStream {
    /// Connects to a collector, until `stop` is set.
    ///
    /// # Errors
    /// If nothing listens at `path`, or what does is no collector of dnstap, or takes too long.
    pub fn connect(path: &Path, stop: &AtomicBool) -> io::Result<FrameStream> {
        let socket = begin(path)?;
        let until = clock::now().plus(HANDSHAKE_WITHIN);
        let mut bounded = Bounded { socket: &socket, until, stop: Some(stop) };
        bounded.write_all(&control(READY, true))?;
        let accepted = read_control(&mut bounded)?;
        let (kind, fields) = accepted.split_first_chunk().ok_or_else(no_collector)?;
        if u32::from_be_bytes(*kind) != ACCEPT || !has_our_content_type(fields) {
            return Err(no_collector());
        }
        bounded.write_all(&control(START, true))?;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(Some(WRITE_WITHIN))?;
        Ok(FrameStream(BufWriter::with_capacity(64 << 10, socket)))
    }

    /// Writes a frame, or keeps it to be written with others.
    ///
    /// # Errors
    /// If the collector is gone, or has taken nothing for a while. The stream is of no use then.
    pub fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let len = u32::try_from(frame.len()).map_err(|_| ErrorKind::InvalidInput)?;
        self.0.write_all(&len.to_be_bytes())?;
        self.0.write_all(frame)
    }

    /// Writes what is kept.
    ///
    /// # Errors
    /// As [`FrameStream::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }

    /// Whether the collector has ended the connection. It sends nothing before the end.
    pub fn is_closed(&self) -> bool {
        use nix::sys::socket::{MsgFlags, recv};
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
        !matches!(recv(self.0.get_ref().as_raw_fd(), &mut [0], flags), Err(Errno::EAGAIN))
    }

    /// Ends the stream: the collector confirms that it has all frames.
    ///
    /// # Errors
    /// If it does not do that in time.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.get_ref().set_write_timeout(Some(FINISH_WITHIN))?;
        self.0.write_all(&control(STOP, false))?;
        self.0.flush()?;
        let socket = self.0.get_ref();
        socket.set_nonblocking(true)?;
        let until = clock::now().plus(FINISH_WITHIN);
        let said = read_control(&mut Bounded { socket, until, stop: None })?;
        if said == FINISH.to_be_bytes() { Ok(()) } else { Err(no_collector()) }
    }
}

/// A connection to a socket. It does not wait: while the collector's queue of connections is full, a
/// wait has no bound.
fn begin(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) => Ok(UnixStream::from(socket)),
        Err(Errno::EAGAIN) => {
            Err(io::Error::new(ErrorKind::WouldBlock, "it accepts no connections, and its queue is full"))
        }
        Err(error) => Err(error.into()),
    }
}

/// A socket that is waited for up to a time in all, and until `stop` is set.
struct Bounded<'a> {
    socket: &'a UnixStream,
    until: Monotonic,
    stop: Option<&'a AtomicBool>,
}

impl Bounded<'_> {
    /// Waits a moment until the socket is ready.
    fn wait(&self, events: PollFlags) -> io::Result<()> {
        if self.stop.is_some_and(|stop| stop.load(Ordering::Acquire)) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        if clock::now() >= self.until {
            return Err(io::Error::new(ErrorKind::TimedOut, "its part of the handshake takes too long"));
        }
        let mut sockets = [PollFd::new(self.socket.as_fd(), events)];
        match poll(&mut sockets, PollTimeout::from(LOOK_EVERY_MS)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.socket;
        loop {
            match socket.read(octets) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLIN)?,
                read => return read,
            }
        }
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let mut socket = self.socket;
        loop {
            match socket.write(octets) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::POLLOUT)?,
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn no_collector() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "what listens there is no collector of dnstap")
}

/// A control frame: an escape of zero octets, its length, its kind, its fields.
fn control(kind: u32, with_content_type: bool) -> Vec<u8> {
    let mut body = kind.to_be_bytes().to_vec();
    if with_content_type {
        body.extend(FIELD_CONTENT_TYPE.to_be_bytes());
        body.extend((CONTENT_TYPE.len() as u32).to_be_bytes());
        body.extend(CONTENT_TYPE);
    }
    [&[0; 4][..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// Reads a control frame: its kind and its fields.
fn read_control(socket: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; 8];
    socket.read_exact(&mut head)?;
    let [0, 0, 0, 0, a, b, c, d] = head else { return Err(no_collector()) };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(4..=CONTROL_MAX).contains(&len) {
        return Err(no_collector());
    }
    let mut body = vec![0; len];
    socket.read_exact(&mut body)?;
    Ok(body)
}

/// Whether the fields of an ACCEPT name our content. Without any the collector takes all.
fn has_our_content_type(mut fields: &[u8]) -> bool {
    let is_any = fields.is_empty();
    while let Some((&[a, b, c, d, e, f, g, h], rest)) = fields.split_first_chunk() {
        let Some(value) = rest.get(..u32::from_be_bytes([e, f, g, h]) as usize) else { return false };
        if u32::from_be_bytes([a, b, c, d]) == FIELD_CONTENT_TYPE && value == CONTENT_TYPE {
            return true;
        }
        fields = &rest[value.len()..];
    }
    is_any
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A collector that answers the first frame with these octets.
    fn meets(answer: &'static [u8]) -> io::Result<()> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hither-frames-{}-{n}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket");
        let collector = std::thread::spawn(move || {
            let (mut near, _) = listener.accept().expect("a connection");
            let ready = read_control(&mut near).expect("a frame");
            assert!(ready.starts_with(&READY.to_be_bytes()) && has_our_content_type(&ready[4..]));
            near.write_all(answer).expect("written");
            let _ = near.read_to_end(&mut Vec::new());
        });
        let met = FrameStream::connect(&path, &AtomicBool::new(false)).map(drop);
        collector.join().expect("no panic");
        std::fs::remove_file(&path).expect("removable");
        met
    }

    #[test]
    fn only_a_collector_that_accepts_dnstap_gets_frames() {
        let accept = control(ACCEPT, true).leak();
        assert!(meets(accept).is_ok());
        assert!(meets(control(ACCEPT, false).leak()).is_ok(), "any content");
        assert!(meets(&accept[..accept.len() - 3]).is_err(), "cut");
        let mut other = accept.to_vec();
        other.truncate(accept.len() - 1);
        other.push(b'x');
        let http: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let finish = control(FINISH, false);
        for wrong in [&*other.leak(), &*finish.leak(), &[0xff; 64], http, b""] {
            assert!(meets(wrong).is_err(), "{wrong:?}");
        }
    }

    /// How a collector is met that sends an octet of its ACCEPT now and then.
    fn drips(stop: &AtomicBool) -> ErrorKind {
        let (near, mut far) = UnixStream::pair().expect("sockets");
        near.set_nonblocking(true).expect("ours");
        let collector = std::thread::spawn(move || {
            for octet in control(ACCEPT, true).into_iter().cycle() {
                std::thread::sleep(Duration::from_millis(20));
                if far.write_all(&[octet]).is_err() {
                    return;
                }
            }
        });
        let until = clock::now().plus(Duration::from_millis(200));
        let read = read_control(&mut Bounded { socket: &near, until, stop: Some(stop) });
        drop(near);
        collector.join().expect("no panic");
        read.expect_err("the time is over").kind()
    }

    #[test]
    fn a_handshake_has_one_bound_however_slowly_its_octets_come() {
        assert_eq!(drips(&AtomicBool::new(false)), ErrorKind::TimedOut);
        assert_eq!(drips(&AtomicBool::new(true)), ErrorKind::ConnectionAborted);
    }
}
