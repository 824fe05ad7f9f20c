//! A connection to the system's message bus (D-Bus), to ask for properties and to be told of changes; blocking, with a time for everything.
//!
//! Of our own, since it is so little: zbus brings an async executor, libdbus a C library, and rustbus waits without end for a bus that does
//! not answer, and in a circle for one that has gone.

use super::message::{Call, FIXED, Kind, Value, decode, whole};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Octets of a line of the authentication.
const LINE_MAX: usize = 512;
/// Messages passed over while an answer is waited for.
const OTHERS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    pub told: bool,
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl Bus {
    /// Connects and says who we are; a bus that is not there yet but whose socket is has until `patience` is over.
    pub fn connect(path: &Path, patience: Duration) -> io::Result<Bus> {
        let stream = UnixStream::connect(path)?;
        let mut bus = Bus { stream, serial: 0, told: false };
        let until = Instant::now() + patience;
        let user = nix::unistd::geteuid().to_string();
        let user: String = user.bytes().map(|octet| format!("{octet:02x}")).collect();
        bus.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), until)?;
        let line = bus.line(until)?;
        if !line.starts_with(b"OK ") {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "it does not let us in"));
        }
        bus.write(b"BEGIN\r\n", until)?;
        bus.ask_bus("Hello", &[], until)?;
        Ok(bus)
    }

    /// Asks to be told what a rule matches.
    pub fn follow(&mut self, rule: &str, until: Instant) -> io::Result<()> {
        self.ask_bus("AddMatch", &[rule], until).map(drop)
    }

    fn ask_bus(&mut self, method: &str, arguments: &[&str], until: Instant) -> io::Result<Option<Value>> {
        let to = "org.freedesktop.DBus";
        self.call(&Call { to, path: "/org/freedesktop/DBus", interface: to, method, arguments }, until)
    }

    /// A property; `None` where nobody of this name is there, or it has no such thing.
    pub fn property(
        &mut self,
        (to, path): (&str, &str),
        interface: &str,
        name: &str,
        until: Instant,
    ) -> io::Result<Option<Value>> {
        let arguments = &[interface, name];
        let properties = "org.freedesktop.DBus.Properties";
        self.call(&Call { to, path, interface: properties, method: "Get", arguments }, until)
    }

    /// All objects that somebody has, with the properties of each of their interfaces.
    pub fn objects(&mut self, (to, path): (&str, &str), until: Instant) -> io::Result<Option<Value>> {
        let interface = "org.freedesktop.DBus.ObjectManager";
        self.call(&Call { to, path, interface, method: "GetManagedObjects", arguments: &[] }, until)
    }

    fn call(&mut self, call: &Call<'_>, until: Instant) -> io::Result<Option<Value>> {
        self.serial += 1;
        let serial = self.serial;
        self.write(&call.encode(serial), until)?;
        for _ in 0..OTHERS_MAX {
            match self.message(until)? {
                (Kind::Return(of), values) if of == serial => return Ok(values.into_iter().next()),
                (Kind::Error(of, name), _) if of == serial => {
                    log::debug!("{} of {} on the message bus: {name}", call.method, call.to);
                    return Ok(None);
                }
                (Kind::Signal(name), _) => self.told |= is_news(&name),
                _ => {}
            }
        }
        Err(malformed("it says much, and nothing of what was asked"))
    }

    /// Takes what the bus has told; whether there was something in it. To be called when it can be read.
    pub fn take(&mut self, patience: Duration) -> io::Result<bool> {
        let until = Instant::now() + patience;
        if let (Kind::Signal(name), _) = self.message(until)? {
            self.told |= is_news(&name);
        }
        Ok(std::mem::take(&mut self.told))
    }

    fn message(&mut self, until: Instant) -> io::Result<(Kind, Vec<Value>)> {
        let mut fixed = [0; FIXED];
        self.read(&mut fixed, until)?;
        let length = whole(&fixed).map_err(|_| malformed("it speaks another language"))?;
        let mut octets = fixed.to_vec();
        octets.resize(length, 0);
        self.read(octets.get_mut(FIXED..).unwrap_or_default(), until)?;
        // What cannot be read was not asked for.
        Ok(decode(&octets).map_or((Kind::Other, Vec::new()), |message| (message.kind, message.values)))
    }

    fn line(&mut self, until: Instant) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut octet = [0];
            self.read(&mut octet, until)?;
            line.extend(octet);
            if line.len() > LINE_MAX {
                return Err(malformed("it speaks another language"));
            }
        }
        Ok(line)
    }

    fn read(&mut self, octets: &mut [u8], until: Instant) -> io::Result<()> {
        let mut at = 0;
        while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
            self.stream.set_read_timeout(Some(left(until)?))?;
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
        self.stream.set_write_timeout(Some(left(until)?))?;
        self.stream.write_all(octets)
    }
}

impl AsFd for Bus {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn is_news(signal: &str) -> bool {
    matches!(signal, "PropertiesChanged" | "NameOwnerChanged")
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}
