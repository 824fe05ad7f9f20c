//! Answers one request on a connection that the service manager has accepted: standard input is its
//! socket. Whatever the client does, this ends.

use super::request::{self, Asked, Status};
use hither_net::clock::now;
use hither_table::Monotonic;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::Duration;

/// Octets of a request's head. That of Prometheus has some 500.
const HEAD_MAX: usize = 8 << 10;
/// How long the client has for its request, and once more to take the response.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long and how much is read of a client that was refused before it had sent everything: if its
/// octets were left unread, the kernel would reset the connection, and the refusal could be lost.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_OCTETS_MAX: usize = 64 << 10;

/// Answers the request. `metrics` gives the text in a format, or the reason why there is none.
///
/// # Errors
/// If standard input is no socket. What the client does is no error.
pub(super) fn serve(metrics: impl FnOnce(super::text::Format) -> Result<String, String>) -> io::Result<()> {
    let stdin = io::stdin();
    let socket = Connection(stdin.as_fd());
    let Some(asked) = socket.request()? else { return Ok(()) };
    let (response, is_read) = match asked {
        Asked::Metrics { format, is_head } => match metrics(format) {
            Ok(text) => (request::response(format, &text, is_head), true),
            Err(reason) => (request::refusal(Status::Unavailable, &reason), true),
        },
        Asked::Wrong(status) => (request::refusal(status, status.reason()), false),
        Asked::More => return Ok(()),
    };
    if socket.write(&response) && !is_read {
        socket.linger();
    }
    Ok(())
}

struct Connection<'f>(BorrowedFd<'f>);

impl Connection<'_> {
    /// Reads the head of a request; `None` if the client has gone without one.
    fn request(&self) -> io::Result<Option<Asked>> {
        let (mut octets, mut len) = ([0; HEAD_MAX], 0);
        let end = now().plus(PATIENCE);
        loop {
            match self.receive(&mut octets[len..], end) {
                Received::Octets(more) => len += more,
                Received::Nothing => return Ok(Some(Asked::Wrong(Status::Timeout))),
                Received::End if len == 0 => return Ok(None),
                Received::End => return Ok(Some(Asked::Wrong(Status::BadRequest))),
                Received::Failed(Errno::ENOTSOCK) => return Err(Errno::ENOTSOCK.into()),
                Received::Failed(_) => return Ok(None),
            }
            match request::read(&octets[..len]) {
                Asked::More if len == HEAD_MAX => return Ok(Some(Asked::Wrong(Status::TooLarge))),
                Asked::More => {}
                asked => return Ok(Some(asked)),
            }
        }
    }

    fn receive(&self, into: &mut [u8], end: Monotonic) -> Received {
        loop {
            match recv(self.0.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Received::End,
                Ok(len) => return Received::Octets(len),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if !self.wait(PollFlags::POLLIN, end) {
                        return Received::Nothing;
                    }
                }
                Err(errno) => return Received::Failed(errno),
            }
        }
    }

    /// Sends octets; `false` if the client does not take them.
    fn write(&self, mut octets: &[u8]) -> bool {
        let end = now().plus(PATIENCE);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        while !octets.is_empty() {
            match send(self.0.as_raw_fd(), octets, flags) {
                Ok(len) => octets = &octets[len..],
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.wait(PollFlags::POLLOUT, end) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Ends our side, and reads what the client still sends, within bounds.
    fn linger(&self) {
        if shutdown(self.0.as_raw_fd(), Shutdown::Write).is_err() {
            return;
        }
        let (mut octets, mut left, end) = ([0; 4096], LINGER_OCTETS_MAX, now().plus(LINGER));
        while let Received::Octets(len) = self.receive(&mut octets, end) {
            left = left.saturating_sub(len);
            if left == 0 || now() >= end {
                return;
            }
        }
    }

    /// Waits until the socket is ready; `false` if it is not before `end`.
    fn wait(&self, ready: PollFlags, end: Monotonic) -> bool {
        let left = end.since(now());
        if left.is_zero() {
            return false;
        }
        // Rounded up, so that the last turn does not spin.
        let ms = u16::try_from(left.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
        let found = poll(&mut [PollFd::new(self.0.as_fd(), ready)], PollTimeout::from(ms));
        matches!(found, Ok(1..) | Err(Errno::EINTR))
    }
}

enum Received {
    Octets(usize),
    /// The client sends nothing more.
    End,
    /// Nothing came in time.
    Nothing,
    Failed(Errno),
}
