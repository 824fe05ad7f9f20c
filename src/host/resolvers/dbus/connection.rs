//! A connection to the system's message bus. It blocks, but every operation has a time limit.

use super::message::{Call, FIXED_HEADER, Kind, Value, decode, length_of};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Octets of a line of the authentication protocol.
const LINE_MAX: usize = 512;
/// Unrelated messages that may come before the reply to a call.
const UNRELATED_MAX: usize = 10_000;

/// An authenticated connection.
#[derive(Debug)]
pub(in crate::host::resolvers) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Whether a relevant signal was received while a reply was waited for.
    pub has_signal: bool,
}

/// An object of a program on the bus.
#[derive(Clone, Copy)]
pub(in crate::host::resolvers) struct Destination<'a> {
    /// The well-known name of the program.
    pub name: &'a str,
    /// The path of the object.
    pub object: &'a str,
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl Connection {
    /// Connects and authenticates as this process' user. While the host starts the socket can exist
    /// before the bus reads from it; it then has `patience` to do so.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Connection> {
        let stream = UnixStream::connect(path)?;
        let mut connection = Connection { stream, serial: 0, has_signal: false };
        let until = Instant::now() + patience;
        let user = nix::unistd::geteuid().to_string();
        let user: String = user.bytes().map(|octet| format!("{octet:02x}")).collect();
        connection.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), until)?;
        let line = connection.read_line(until)?;
        if !line.starts_with(b"OK ") {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "the message bus refuses this user"));
        }
        connection.write(b"BEGIN\r\n", until)?;
        connection.call_bus("Hello", &[], until)?;
        Ok(connection)
    }

    /// Subscribes to the signals that a match rule describes.
    pub fn subscribe(&mut self, rule: &str, until: Instant) -> io::Result<()> {
        self.call_bus("AddMatch", &[rule], until).map(drop)
    }

    fn call_bus(&mut self, method: &str, arguments: &[&str], until: Instant) -> io::Result<Option<Value>> {
        let to = "org.freedesktop.DBus";
        self.call(&Call { to, path: "/org/freedesktop/DBus", interface: to, method, arguments }, until)
    }

    /// Reads a property of an object; `None` if the program does not run or has no such property.
    pub fn property(
        &mut self,
        at: Destination<'_>,
        interface: &str,
        name: &str,
        until: Instant,
    ) -> io::Result<Option<Value>> {
        let arguments = &[interface, name];
        let properties = "org.freedesktop.DBus.Properties";
        let (to, path) = (at.name, at.object);
        self.call(&Call { to, path, interface: properties, method: "Get", arguments }, until)
    }

    /// Reads all objects of a program below one, with the properties of each of their interfaces.
    pub fn objects(&mut self, at: Destination<'_>, until: Instant) -> io::Result<Option<Value>> {
        let interface = "org.freedesktop.DBus.ObjectManager";
        let (to, path) = (at.name, at.object);
        self.call(&Call { to, path, interface, method: "GetManagedObjects", arguments: &[] }, until)
    }

    fn call(&mut self, call: &Call<'_>, until: Instant) -> io::Result<Option<Value>> {
        self.serial += 1;
        let serial = self.serial;
        self.write(&call.encode(serial), until)?;
        for _ in 0..UNRELATED_MAX {
            match self.read_message(until)? {
                (Kind::Return(of), values) if of == serial => return Ok(values.into_iter().next()),
                (Kind::Error(of, name), _) if of == serial => {
                    log::debug!("{} of {} on the message bus: {name}", call.method, call.to);
                    return Ok(None);
                }
                (Kind::Signal(name), _) => self.has_signal |= is_relevant(&name),
                _ => {}
            }
        }
        Err(malformed("the message bus sends many messages, but not the reply"))
    }

    /// Reads one message, to be called when the socket is readable. Returns whether a relevant signal
    /// was received.
    pub fn receive(&mut self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        if let (Kind::Signal(name), _) = self.read_message(until)? {
            self.has_signal |= is_relevant(&name);
        }
        Ok(std::mem::take(&mut self.has_signal))
    }

    fn read_message(&mut self, until: Instant) -> io::Result<(Kind, Vec<Value>)> {
        let mut fixed = [0; FIXED_HEADER];
        self.read(&mut fixed, until)?;
        let length = length_of(&fixed).map_err(|_| malformed("the message bus does not speak D-Bus"))?;
        let mut octets = fixed.to_vec();
        octets.resize(length, 0);
        self.read(octets.get_mut(FIXED_HEADER..).unwrap_or_default(), until)?;
        // A message of a type that is not decoded is no reply to our calls.
        Ok(decode(&octets).map_or((Kind::Other, Vec::new()), |message| (message.kind, message.values)))
    }

    fn read_line(&mut self, until: Instant) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut octet = [0];
            self.read(&mut octet, until)?;
            line.extend(octet);
            if line.len() > LINE_MAX {
                return Err(malformed("the message bus does not speak D-Bus"));
            }
        }
        Ok(line)
    }

    fn read(&mut self, octets: &mut [u8], until: Instant) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
            self.stream.set_read_timeout(Some(time_left(until)?))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, octets: &[u8], until: Instant) -> io::Result<()> {
        self.stream.set_write_timeout(Some(time_left(until)?))?;
        self.stream.write_all(octets)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_relevant(signal: &str) -> bool {
    matches!(signal, "PropertiesChanged" | "NameOwnerChanged")
}

fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
