//! The native protocol of systemd-journald: each entry is a datagram of fields, sent to the path of a
//! socket.
//!
//! The socket is not connected, so that a restart of the journal breaks nothing. A send never blocks:
//! if the journal hangs or is gone, the entry is lost.

use super::entry::Entry;
use nix::sys::stat::fstat;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// The socket of systemd-journald. For a unit with LogNamespace=, systemd mounts the socket of that
/// namespace there.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// LOG_DAEMON of syslog(3), which the journal also uses for the standard error of a service.
const FACILITY: &str = "3";

/// The connection to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// The SYSLOG_IDENTIFIER of the entries.
    identifier: String,
}

impl Journal {
    /// A journal at `path`, which need not listen yet.
    ///
    /// # Errors
    /// If the socket cannot be created.
    pub fn new(path: PathBuf, identifier: String) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Journal { socket, path, identifier })
    }

    /// Sends an entry.
    ///
    /// # Errors
    /// If the journal does not take it at once.
    pub fn send(&self, entry: &Entry) -> io::Result<()> {
        self.socket.send_to(&self.fields(entry), &self.path).map(drop)
    }

    fn fields(&self, entry: &Entry) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        field(&mut out, "MESSAGE", &entry.line);
        field(&mut out, "PRIORITY", &entry.priority().to_string());
        field(&mut out, "SYSLOG_FACILITY", FACILITY);
        field(&mut out, "SYSLOG_IDENTIFIER", &self.identifier);
        field(&mut out, "CODE_FILE", entry.spot.0);
        field(&mut out, "CODE_LINE", &entry.spot.1.to_string());
        field(&mut out, "HITHER_VERSION", env!("CARGO_PKG_VERSION"));
        if let Some(event) = entry.event {
            field(&mut out, "MESSAGE_ID", &format!("{:032x}", event.id()));
            field(&mut out, "HITHER_EVENT", event.name());
        }
        entry.fields.iter().for_each(|(name, value)| field(&mut out, name, value));
        out
    }
}

/// Appends a field. A value of several lines has a form with its length, so that it cannot be taken for
/// other fields.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend(name.bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend((value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value.bytes());
    out.push(b'\n');
}

/// Whether `target` is the stream to the journal that `stream`, the value of JOURNAL_STREAM, names. A
/// program that a service started can inherit the variable while its standard error is another.
pub(super) fn is_journal_stream(stream: Option<&OsStr>, target: impl AsFd) -> bool {
    let named = stream.and_then(OsStr::to_str).and_then(|text| text.split_once(':'));
    let Some((device, inode)) = named.and_then(|(d, i)| Some((d.parse().ok()?, i.parse().ok()?))) else {
        return false;
    };
    fstat(target).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (device, inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_value_of_several_lines_does_not_pass_for_other_fields() {
        let mut out = Vec::new();
        field(&mut out, "MESSAGE", "one\nPRIORITY=0\n");
        field(&mut out, "CODE_LINE", "7");
        assert_eq!(out, b"MESSAGE\n\x0f\0\0\0\0\0\0\0one\nPRIORITY=0\n\nCODE_LINE=7\n");
    }

    #[test]
    fn only_the_descriptor_that_the_variable_names_leads_to_the_journal() {
        let (ours, other) = UnixStream::pair().expect("sockets");
        let stat = fstat(&ours).expect("open");
        let named = OsString::from(format!("{}:{}", stat.st_dev, stat.st_ino));
        assert!(is_journal_stream(Some(&named), &ours));
        assert!(!is_journal_stream(Some(&named), &other), "inherited, while standard error is another");
        assert!(!is_journal_stream(None, &ours));
        for wrong in ["", ":", "1", "8:", ":8", "a:b", "-1:-1", "8:99999999999999999999", "1:2:3"] {
            assert!(!is_journal_stream(Some(OsStr::new(wrong)), &ours), "{wrong}");
        }
    }
}
