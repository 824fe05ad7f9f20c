//! The journal's own protocol: entries of fields, each a datagram, to a socket that is found anew by its path each time.
//!
//! So nothing is held that a restart of the journal breaks. A send never waits: a journal that stands still, or is gone, costs the
//! entry and nothing else.

use super::entry::Entry;
use nix::sys::stat::fstat;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

/// Where systemd-journald listens; where a unit has LogNamespace=, systemd puts that one's socket there.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// LOG_DAEMON of syslog(3), which is what the journal assumes of a service's standard error.
const FACILITY: &str = "3";

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// SYSLOG_IDENTIFIER of what is sent.
    identifier: String,
}

impl Journal {
    /// One that listens, or will, at `path`.
    ///
    /// # Errors
    /// If there is no descriptor to be had.
    pub fn new(path: PathBuf, identifier: String) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Journal { socket, path, identifier })
    }

    /// Hands over an entry.
    ///
    /// # Errors
    /// If nobody takes it at once.
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

/// Writes a field; the form for values of several lines is used where it is needed, so that none can pass for two fields.
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

/// Whether `target` leads to the journal, according to `stream`, the value of JOURNAL_STREAM. Who was started from a service without
/// being one inherits that variable and not the descriptor.
pub(super) fn leads_there(stream: Option<&OsStr>, target: impl AsFd) -> bool {
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
        assert!(leads_there(Some(&named), &ours));
        assert!(!leads_there(Some(&named), &other), "inherited by somebody whose standard error is another");
        assert!(!leads_there(None, &ours));
        for wrong in ["", ":", "1", "8:", ":8", "a:b", "-1:-1", "8:99999999999999999999", "1:2:3"] {
            assert!(!leads_there(Some(OsStr::new(wrong)), &ours), "{wrong}");
        }
    }
}
