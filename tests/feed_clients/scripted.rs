//! A daemon's side of the feed as a test scripts it: a table of its own, and the socket of changes.

use crate::support::PATIENCE;
use hither_feed::{Cause, Change, DATAGRAM_MAX, Names, RECORD_MAX, Record, Subscription};
use hither_net::seqpacket::{Connection, Listener};
use hither_table::{Draft, Family, FamilyDraft, Geometry, Key, Monotonic, Writer, open_or_create};
use hither_wire::name::Name;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::any::Any;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn await_readable(what: &str, fd: BorrowedFd<'_>) {
    let timeout = PollTimeout::try_from(PATIENCE).expect("short");
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout);
    assert_eq!(ready, Ok(1), "not in time: {what}");
}

/// The table and the socket of a daemon that a test plays.
pub struct Scripted {
    writer: Writer,
    listener: Listener,
    /// The lock on the table, which is kept.
    _lock: Box<dyn Any>,
}

impl Scripted {
    pub fn start(dir: &Path) -> Scripted {
        let geometry = Geometry { entries: 64 };
        let (writer, _, lock) = open_or_create(dir, &geometry, 0o644, [1, 2, 3], 1).expect("a table");
        let listener = Listener::bind(&dir.join("changes"), 0o666).expect("a socket");
        Scripted { writer, listener, _lock: Box::new(lock) }
    }

    /// The next subscriber.
    pub fn accept(&self) -> Subscriber {
        await_readable("a subscriber connects", self.listener.as_fd());
        Subscriber(self.listener.accept().expect("accepted").expect("it is there"))
    }

    /// Closes the socket, whose file stays, and returns the table.
    pub fn stop_listening(self) -> impl Sized {
        drop(self.listener);
        (self.writer, self._lock)
    }

    /// Publishes the addresses of one family, and removes the other. Returns the version.
    pub fn publish(&mut self, name: &Name, addresses: &[&str]) -> u64 {
        let version = self.writer.next_version();
        let addresses: Vec<IpAddr> =
            addresses.iter().map(|address| address.parse().expect("an address")).collect();
        let is_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
        let set = Some(FamilyDraft::of(version, addresses, 1 << 40, 60));
        let (a, aaaa) = if is_v6 { (None, set) } else { (set, None) };
        self.writer.put(&Draft { name: *name, a, aaaa }, Monotonic(0)).expect("room");
        version
    }

    /// Removes a name from the table.
    pub fn remove(&mut self, name: &Name) {
        self.writer.remove(&Key::of(name));
    }
}

/// A program that has connected.
pub struct Subscriber(Connection);

impl Subscriber {
    /// The names of its next datagram.
    pub fn names(&self) -> Vec<Subscription> {
        await_readable("a datagram", self.0.as_fd());
        let mut octets = [0; DATAGRAM_MAX + 1];
        let octets = self.0.receive(&mut octets).expect("received");
        Names::read(octets).expect("well formed").collect()
    }

    /// Accepts the names of the next datagram, and returns them.
    pub fn accept(&self) -> Vec<Subscription> {
        let names = self.names();
        self.tell(Record::Accepted { names: u32::try_from(names.len()).expect("few"), version: 0 });
        names
    }

    pub fn tell(&self, record: Record<'_>) {
        self.0.send(record.write(&mut [0; RECORD_MAX])).expect("sent");
    }

    pub fn octets(&self, octets: &[u8]) {
        self.0.send(octets).expect("sent");
    }

    pub fn change(&self, name: &Name, cause: Cause, version: u64) {
        let (family, coalesced, set_version) = (Family::A, false, version);
        self.tell(Record::Change(Change {
            cause,
            family,
            coalesced,
            version,
            set_version,
            name: name.as_wire(),
        }));
    }
}
