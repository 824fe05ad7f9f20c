//! The feed of changes: the socket `changes`, its connections, and the daemon's own table as their
//! source.
//!
//! [`Changes`] owns the socket, a connection for each subscriber, and the sans-IO [`Feed`], which
//! decides what each is told and which names need a round. At the end of each turn it follows the
//! table, so a change is told in the turn that published it. A publish never waits for a subscriber: a
//! full socket is left until it takes records again. Without subscribers it does nothing.

mod lookup;

use crate::config::Config;
use crate::daemon::local_listener::{Accepted, LocalListener};
use crate::daemon::sources::{Slot, Source};
use crate::daemon::turn::Budget;
use hither_feed::server::{Ask, Counts, Feed, Owner, SubscriberId};
use hither_feed::{DATAGRAM_MAX, RECORD_MAX, Refusal};
use hither_net::seqpacket::Connection;
use hither_rounds::Rounds;
use hither_table::paths::CHANGES_SOCKET;
use hither_table::{Follower, Monotonic, Snapshot, Step};
use hither_wire::name::Name;
use lookup::Lookup;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;

/// Connections accepted in one turn.
const ACCEPTED_PER_TURN_MAX: usize = 8;
/// Changes of the table that are followed in one turn.
const STEPS_PER_TURN_MAX: usize = 512;
/// Leases that are looked up again, or subscriptions that are removed, in one turn.
const SLICE: usize = 512;
/// Records sent in one turn. Each takes some microseconds.
const RECORDS_PER_TURN_MAX: usize = 256;
/// Octets of the kernel's buffer for one subscriber, of which the kernel takes twice as many: some 170
/// records, charged to the daemon.
const BUFFER_OCTETS: usize = 65_536;

/// One subscriber's connection.
#[derive(Debug)]
struct Subscriber {
    connection: Connection,
    generation: u32,
}

/// The result of accepting subscribers.
#[derive(Debug, Default)]
pub(crate) struct NewSubscribers {
    /// More connections may wait to be accepted.
    pub may_be_more: bool,
    /// A connection is waiting, but could not be accepted.
    pub failure: Option<io::Error>,
}

/// The feed of changes. See the module.
#[derive(Debug)]
pub(crate) struct Changes {
    feed: Feed,
    listener: LocalListener,
    /// Whether the configuration permits any name.
    is_on: bool,
    subscribers: BTreeMap<u32, Subscriber>,
    generation: u32,
    /// The changes of the table, while names are leased.
    follower: Option<Follower>,
    snapshot: Box<Snapshot>,
    lookup: Lookup,
    /// Connections whose next datagram may be read.
    answered: Vec<Source>,
    /// Whether work is left for the next turn.
    has_more: bool,
    buffer: Vec<u8>,
}

impl Changes {
    /// A feed that has no socket yet, see [`Changes::configure`]. `seed` must be unpredictable.
    ///
    /// # Errors
    /// Why its socket cannot be polled.
    pub fn new(seed: [u64; 2], registry: &Registry) -> Result<Changes, String> {
        Ok(Changes {
            feed: Feed::new(hither_feed::server::Limits::default(), seed),
            listener: LocalListener::new(None, CHANGES_SOCKET, Source::ChangesListener, registry)?,
            is_on: false,
            subscribers: BTreeMap::new(),
            generation: 0,
            follower: None,
            snapshot: Box::default(),
            lookup: Lookup::default(),
            answered: Vec::new(),
            has_more: false,
            buffer: vec![0; DATAGRAM_MAX + 1],
        })
    }

    /// Puts limits in force, and binds the socket with its mode. `subscribers` is the share of descriptors.
    pub fn configure(&mut self, config: &Config, subscribers: usize, registry: &Registry) {
        let mut limits = config.limits.feed.limits;
        limits.subscribers = limits.subscribers.min(subscribers);
        self.feed.set_limits(limits);
        self.is_on = limits.names > 0;
        if self.is_on {
            self.listener.set_mode(config.limits.feed.mode);
        }
        self.bind_again(&config.runtime_dir, registry);
    }

    /// Binds the socket if it is not bound, or if its file was removed or replaced.
    pub fn bind_again(&mut self, dir: &std::path::Path, registry: &Registry) {
        if self.is_on {
            // `problem` reports a failure.
            let _ = self.listener.bind(dir, registry);
        } else {
            self.listener.unbind(dir);
        }
    }

    /// Why the socket is not bound.
    pub fn problem(&self) -> Option<&str> {
        self.listener.problem()
    }

    /// What was done and what there is.
    pub fn counts(&self) -> Counts {
        self.feed.counts()
    }

    /// Accepts some of the subscribers that wait. One that is beyond a limit gets the reason.
    pub fn accept(&mut self, registry: &Registry, budget: &mut Budget) -> NewSubscribers {
        for _ in 0..ACCEPTED_PER_TURN_MAX {
            match self.listener.accept() {
                Accepted::Connection(connection) => self.add(connection, registry),
                Accepted::Nothing => return NewSubscribers::default(),
                Accepted::Failed(error) => {
                    return NewSubscribers { may_be_more: false, failure: Some(error) };
                }
            }
            budget.use_up(0);
            if budget.is_spent() {
                break;
            }
        }
        NewSubscribers { may_be_more: true, failure: None }
    }

    fn add(&mut self, connection: Connection, registry: &Registry) {
        let Ok(peer) = connection.peer() else { return };
        let id = match self.feed.connect(Owner::of(peer.uid, peer.pid)) {
            Ok(id) => id,
            Err(reason) => return refuse(&connection, reason),
        };
        // With another buffer a gap comes sooner or later.
        let _ = connection.set_send_buffer(BUFFER_OCTETS);
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { key: id.0 as usize, generation: self.generation };
        let (source, interest) = (Source::Subscriber(slot), Interest::READABLE | Interest::WRITABLE);
        if registry.register(&mut SourceFd(&connection.as_raw_fd()), source.token(), interest).is_err() {
            return self.feed.disconnect(id);
        }
        self.subscribers.insert(id.0, Subscriber { connection, generation: self.generation });
        self.answered.push(source);
    }

    /// Handles a subscriber whose socket is readable or writable: reads a datagram, and goes on sending.
    pub fn on_subscriber(&mut self, slot: Slot, rounds: &Rounds, now: Monotonic, budget: &mut Budget) {
        let id = SubscriberId(u32::try_from(slot.key).unwrap_or(u32::MAX));
        let Some(subscriber) = self.subscribers.get(&id.0).filter(|one| one.generation == slot.generation)
        else {
            return;
        };
        self.feed.note_writable(id);
        if !self.feed.may_read(id) {
            // Its last datagram is not answered yet, or those of subscribers that are gone are still
            // being removed. Afterwards there is another turn.
            if self.feed.has_work(now) {
                self.answered.push(Source::Subscriber(slot));
            }
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        match subscriber.connection.receive(&mut buffer).map(<[u8]>::len) {
            Ok(0) => self.disconnect(id),
            Ok(len) => {
                budget.use_up(len);
                self.subscribe(id, &buffer[..len], rounds, now);
            }
            // The datagram is too long.
            Err(error) if error.kind() == ErrorKind::InvalidData => self.subscribe(id, &[], rounds, now),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.disconnect(id),
        }
        self.buffer = buffer;
    }

    fn subscribe(&mut self, id: SubscriberId, datagram: &[u8], rounds: &Rounds, now: Monotonic) {
        let reader = rounds.reader();
        // Before the look-ups, so that no change is missed after them.
        self.follower.get_or_insert_with(|| reader.follow());
        let secrets = self.feed.secrets().clone();
        let mut look = |name: &Name| self.lookup.look(rounds, &reader, &secrets, name, now);
        self.feed.subscribe(now, id, datagram, reader.version(), &mut look);
    }

    fn disconnect(&mut self, id: SubscriberId) {
        // Closing it takes it out of the poll.
        self.subscribers.remove(&id.0);
        self.feed.disconnect(id);
    }

    /// The names that hither answers itself have changed.
    pub fn look_again(&mut self, now: Monotonic) {
        self.feed.look_again(now, true);
    }

    /// The network or the upstreams have changed: names that could not be looked up are tried again.
    pub fn retry(&mut self, now: Monotonic) {
        self.feed.retry(now);
    }

    /// Follows the table, and does a slice of the work that is left.
    pub fn follow(&mut self, rounds: &Rounds, now: Monotonic) {
        self.has_more = false;
        if self.feed.is_idle() && !self.feed.has_work(now) {
            self.follower = None;
            return;
        }
        self.has_more |= self.step(rounds, now);
        if self.feed.has_work(now) {
            let (reader, secrets) = (rounds.reader(), self.feed.secrets().clone());
            let mut look = |name: &Name| self.lookup.look(rounds, &reader, &secrets, name, now);
            self.has_more |= self.feed.work(now, SLICE, &mut look);
        }
    }

    /// Takes over what was published since the last turn. Returns whether there is more.
    fn step(&mut self, rounds: &Rounds, now: Monotonic) -> bool {
        let Some(follower) = &mut self.follower else { return false };
        for _ in 0..STEPS_PER_TURN_MAX {
            match follower.step(&mut self.snapshot) {
                Step::Record => {
                    let (lookup, reader) = (&mut self.lookup, follower.reader());
                    self.feed.note(now, self.snapshot.name(), |secrets| {
                        let name = Name::from_wire(self.snapshot.name()).unwrap_or(Name::ROOT);
                        lookup.look(rounds, reader, secrets, &name, now)
                    });
                }
                Step::Changed => self.feed.look_again(now, false),
                Step::Lapped => self.feed.look_again(now, true),
                Step::Replaced => {
                    *follower = rounds.reader().follow();
                    self.feed.look_again(now, true);
                }
                Step::Nothing => return false,
            }
        }
        true
    }

    /// The next round that a lease needs.
    pub fn next_ask(&mut self, rounds: &Rounds, now: Monotonic) -> Option<Ask> {
        if !self.feed.has_asks(now) {
            return None;
        }
        let (reader, secrets) = (rounds.reader(), self.feed.secrets().clone());
        let mut look = |name: &Name| self.lookup.look(rounds, &reader, &secrets, name, now);
        self.feed.next_ask(now, &mut look)
    }

    /// Counts a round that began because of [`Changes::next_ask`].
    pub fn note_begun(&mut self, ask: &Ask) {
        self.feed.note_begun(ask);
    }

    /// No round began because of [`Changes::next_ask`], although there was room for one.
    pub fn note_refused(&mut self, ask: &Ask) {
        self.feed.note_refused(ask);
    }

    /// Sends records to the subscribers whose sockets take them. `version` is the table's last one.
    pub fn send(&mut self, version: u64) {
        let mut out = [0; RECORD_MAX];
        for _ in 0..RECORDS_PER_TURN_MAX {
            let Some((id, octets)) = self.feed.next_record(version, &mut out) else { return };
            let Some(subscriber) = self.subscribers.get(&id.0) else {
                self.feed.disconnect(id);
                continue;
            };
            match subscriber.connection.send(octets) {
                Ok(()) => {
                    if self.feed.note_sent() {
                        let slot = Slot { key: id.0 as usize, generation: subscriber.generation };
                        self.answered.push(Source::Subscriber(slot));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.feed.note_full(),
                // The subscriber is gone, or the kernel has no memory: it sees the end, and knows that it
                // knows nothing more.
                Err(_) => self.disconnect(id),
            }
        }
        self.has_more |= self.feed.has_records();
    }

    /// The connections whose next datagram may be read.
    pub fn take_answered(&mut self) -> impl Iterator<Item = Source> {
        std::mem::take(&mut self.answered).into_iter()
    }

    /// Whether work is left that waits for no event.
    pub fn has_more(&self) -> bool {
        self.has_more
    }

    /// When a lease is to be renewed, or work is due.
    pub fn timeout(&self) -> Option<Monotonic> {
        self.feed.timeout()
    }
}

/// Tells a program why its connection is closed.
fn refuse(connection: &Connection, reason: Refusal) {
    connection.stop_receiving();
    if let Err(error) = connection.send(Feed::refusal(reason).write(&mut [0; RECORD_MAX])) {
        // The program sees the end without a reason.
        log::debug!("a refused subscriber did not take the reason: {error}");
    }
}
