//! A daemon whose log goes to a stand-in for the journal.

use super::{Daemon, PATIENCE, Upstream, directory, retried};
use hither::logging::Event;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, recv};
use nix::sys::stat::fstat;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub type Fields = BTreeMap<String, String>;

/// A daemon with a stand-in for the journal: its socket, and a standard error that looks like the
/// journal's.
pub struct Journaled {
    pub dir: PathBuf,
    pub socket: UnixDatagram,
    /// Both ends of standard error: the end that the journal would read, and a copy of the daemon's.
    pub stderr: (UnixStream, UnixStream),
    pub process: Child,
}

impl Journaled {
    pub fn bind(dir: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(dir.join("journal/socket")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        socket
    }

    /// `None` without the right to create a mount namespace.
    pub fn start(upstreams: &[&Upstream], more: &str) -> Option<Journaled> {
        let dir = directory();
        std::fs::create_dir_all(dir.join("journal")).expect("a directory");
        Daemon::configure(&dir, upstreams, more);
        let socket = Journaled::bind(&dir);
        let (stderr, theirs) = UnixStream::pair().expect("sockets");
        let stat = fstat(&theirs).expect("open");
        // A private /run with our socket at the path of the journal's.
        let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal \
            && mount --bind \"$1\" /run/systemd/journal && exec \"$2\" --config \"$3\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(dir.join("journal"));
        command.arg(env!("CARGO_BIN_EXE_hitherd")).arg(dir.join("hither.toml"));
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
        command.stderr(Stdio::from(OwnedFd::from(theirs.try_clone().expect("a descriptor"))));
        let mut process = command.spawn().ok()?;
        let end = Instant::now() + PATIENCE;
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("an option");
        while recv(socket.as_raw_fd(), &mut [0; 1], MsgFlags::MSG_PEEK).is_err() {
            if process.try_wait().expect("a child").is_some() {
                return None;
            }
            assert!(Instant::now() < end, "it never logs");
        }
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        Some(Journaled { dir, socket, stderr: (stderr, theirs), process })
    }

    pub fn next(&self) -> Result<Fields, ErrorKind> {
        let mut buffer = vec![0; 100_000];
        let len = retried(|| self.socket.recv(&mut buffer)).map_err(|error| error.kind())?;
        let text = String::from_utf8(buffer[..len].to_vec()).expect("text");
        Ok(text
            .lines()
            .filter_map(|l| l.split_once('='))
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect())
    }

    /// The next entry of an event.
    pub fn event(&self, event: Event) -> Fields {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Ok(fields) if fields.get("HITHER_EVENT").is_some_and(|name| name == event.name()) => {
                    return fields;
                }
                Ok(fields) => seen.push(fields),
                Err(error) => panic!("{} never comes ({error}): {seen:?}", event.name()),
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).expect("small"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }
}

impl Drop for Journaled {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
