//! Lines on standard error, whatever it is, none of which is waited for.
//!
//! A pipe that nobody reads, a terminal that is held, a socket that is full: each would stop the program at the next line. Its
//! descriptor is shared with whoever started us, so that it cannot be made non-blocking itself.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

/// Standard error, or what stands for it.
pub(super) struct Stderr {
    way: Way,
    /// Part of a line has been written: the next one begins on a line of its own.
    cut: bool,
}

type Target = Box<dyn AsFd + Send>;

enum Way {
    /// Each send says for itself that it does not wait.
    Socket(Target),
    /// A pipe or terminal, opened once more for ourselves alone.
    Reopened(OwnedFd),
    /// A file, or what cannot be opened again since it is another user's: it is asked for room before each line. A pipe with room takes
    /// a line of PIPE_BUF octets, unless another process that has the same pipe is quicker.
    Asked(Target),
}

impl Stderr {
    pub fn new(target: Target) -> Stderr {
        let kind = fstat(target.as_fd()).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        let way = match kind {
            Ok(SFlag::S_IFSOCK) => Way::Socket(target),
            // A file opened again would be written from its beginning.
            Ok(SFlag::S_IFIFO | SFlag::S_IFCHR) => {
                let path = format!("/proc/self/fd/{}", target.as_fd().as_raw_fd());
                let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                open(path.as_str(), flags, Mode::empty()).map_or(Way::Asked(target), Way::Reopened)
            }
            _ => Way::Asked(target),
        };
        Stderr { way, cut: false }
    }

    /// Writes a line, if all of it is taken at once; whether it was.
    pub fn write(&mut self, line: &str) -> bool {
        let octets = [if self.cut { "\n" } else { "" }, line, "\n"].concat().into_bytes();
        let written = match &self.way {
            Way::Socket(target) => {
                send(target.as_fd().as_raw_fd(), &octets, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            }
            Way::Reopened(target) => write(target, &octets),
            Way::Asked(target) => {
                if has_room(target) {
                    write(target.as_fd(), &octets)
                } else {
                    Err(Errno::EAGAIN)
                }
            }
        };
        match written {
            Ok(count) if count == octets.len() => self.cut = false,
            Ok(1..) => self.cut = true,
            // Nobody can be told that standard error is closed.
            Ok(0) | Err(_) => return false,
        }
        !self.cut
    }
}

fn has_room(target: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
    let room = |asked: &PollFd<'_>| asked.revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
    poll(&mut asked, PollTimeout::ZERO).is_ok() && asked.iter().all(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Read, Seek as _, Write as _};
    use std::os::unix::net::UnixStream;

    /// Writes until nobody takes any more, then reads what came: whole lines, and after room was made the next one.
    fn fills_without_waiting(mut stderr: Stderr, reader: impl Read) {
        let line = "x".repeat(200);
        let mut count = 0;
        while stderr.write(&line) {
            count += 1;
        }
        assert!(count > 10 && !stderr.write(&line));
        let mut lines = BufReader::new(reader).lines().map(|line| line.expect("text"));
        assert!(lines.by_ref().take(count).all(|read| read == line), "each of them whole");
        assert!(stderr.write("at last"));
        let next = lines.find(|read| !line.starts_with(read.as_str()));
        assert_eq!(next.as_deref(), Some("at last"), "on a line of its own");
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let stderr = Stderr::new(Box::new(writer));
        assert!(matches!(stderr.way, Way::Reopened(_)));
        fills_without_waiting(stderr, reader);
        // Another user's pipe.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        fills_without_waiting(Stderr { way: Way::Asked(Box::new(writer)), cut: false }, reader);
    }

    #[test]
    fn a_socket_that_nobody_reads_is_not_waited_for() {
        let (reader, writer) = UnixStream::pair().expect("sockets");
        let stderr = Stderr::new(Box::new(writer));
        assert!(matches!(stderr.way, Way::Socket(_)));
        fills_without_waiting(stderr, reader);
    }

    #[test]
    fn a_file_is_written_where_its_owner_stands() {
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
    fn nobody_is_told_that_nobody_listens() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut stderr = Stderr::new(Box::new(writer));
        drop(reader);
        assert!(!stderr.write("unheard"));
    }
}
