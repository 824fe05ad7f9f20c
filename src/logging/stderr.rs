//! Lines on standard error, written without ever blocking.
//!
//! A pipe without a reader, a stopped terminal or a full socket would otherwise stop the program at the
//! next line. The descriptor is shared with the parent process, so that it cannot be set to
//! non-blocking.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// Standard error, or another descriptor in its place.
pub(super) struct Stderr {
    access: Access,
    /// Whether the last line was written in part, so that the next one needs a line end before it.
    is_cut: bool,
}

type Target = Box<dyn AsFd + Send>;

enum Access {
    /// A socket, written with MSG_DONTWAIT.
    Socket(Target),
    /// A pipe or terminal, opened again as a non-blocking descriptor of our own.
    Reopened(OwnedFd),
    /// A file, or a pipe that cannot be opened again because it belongs to another user: it is polled
    /// before each line. A pipe that is ready takes a line of PIPE_BUF octets, unless another writer of
    /// the same pipe fills it meanwhile.
    Polled(Target),
}

impl Stderr {
    pub fn new(target: Target) -> Stderr {
        let kind = fstat(target.as_fd()).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        let access = match kind {
            Ok(SFlag::S_IFSOCK) => Access::Socket(target),
            // A file is not opened again, since it would then be written from its start.
            Ok(SFlag::S_IFIFO | SFlag::S_IFCHR) => {
                let path = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
                let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                open(path.as_str(), flags, Mode::empty()).map_or(Access::Polled(target), Access::Reopened)
            }
            _ => Access::Polled(target),
        };
        Stderr { access, is_cut: false }
    }

    /// Writes a line without blocking. Returns whether all of it was taken.
    pub fn write(&mut self, line: &str) -> bool {
        let octets = [if self.is_cut { "\n" } else { "" }, line, "\n"].concat().into_bytes();
        let written = match &self.access {
            Access::Socket(target) => {
                send(target.as_fd().as_raw_fd(), &octets, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            Access::Reopened(target) => write(target, &octets),
            Access::Polled(target) => {
                if is_writable(target) {
                    write(target.as_fd(), &octets)
                } else {
                    Err(Errno::EAGAIN)
                }
            }
        };
        match written {
            Ok(count) if count == octets.len() => self.is_cut = false,
            Ok(1..) => self.is_cut = true,
            // There is no other place to report that standard error is closed.
            Ok(0) | Err(_) => return false,
        }
        !self.is_cut
    }
}

fn is_writable(target: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
    let is_ready =
        |asked: &PollFd<'_>| asked.revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked.iter().all(is_ready)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read, Seek as _, Write as _};
    use std::os::unix::net::UnixStream;

    /// Writes until nothing more is taken, reads complete lines, and writes again.
    fn fills_without_waiting(mut stderr: Stderr, reader: impl Read) {
        let line = "x".repeat(200);
        let mut count = 0;
        while stderr.write(&line) {
            count += 1;
        }
        assert!(count > 10 && !stderr.write(&line));
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
        assert!(lines.by_ref().take(count).all(|read| read == line), "each complete");
        assert!(stderr.write("at last"));
        let next = lines.find(|read| !line.starts_with(read.as_str()));
        assert_eq!(next.as_deref(), Some("at last"), "on a line of its own");
    }

    #[test]
    fn a_full_pipe_does_not_block() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let stderr = Stderr::new(Box::new(writer));
        assert!(matches!(stderr.access, Access::Reopened(_)));
        fills_without_waiting(stderr, reader);
        // As with a pipe of another user.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        fills_without_waiting(Stderr { access: Access::Polled(Box::new(writer)), is_cut: false }, reader);
    }

    #[test]
    fn a_full_socket_does_not_block() {
        let (reader, writer) = UnixStream::pair().expect("sockets");
        let stderr = Stderr::new(Box::new(writer));
        assert!(matches!(stderr.access, Access::Socket(_)));
        fills_without_waiting(stderr, reader);
    }

    #[test]
    fn a_file_is_written_at_its_current_offset() {
        let path = std::env::temp_dir().join(format!("hither-stderr-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).expect("a file");
        file.write_all(b"before\n").expect("written");
        let mut stderr = Stderr::new(Box::new(file.try_clone().expect("a descriptor")));
        assert!(stderr.write("ours"));
        file.write_all(b"after\n").expect("written");
        assert_eq!(file.stream_position().expect("a file"), 18);
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "before\nours\nafter\n");
        std::fs::remove_file(&path).expect("removable");
    }

    #[test]
    fn a_closed_standard_error_is_no_panic() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut stderr = Stderr::new(Box::new(writer));
        drop(reader);
        assert!(!stderr.write("unheard"));
    }
}
