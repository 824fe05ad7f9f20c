//! Hints: a reader's message that it still uses an entry of the table which is about to expire.
//! Readers are other processes that read the table from shared memory; the daemon sees no queries
//! of them.

use crate::daemon::sources::Source;
use crate::host::files::identity;
use hither_net::hints::Hints as Socket;
use hither_net::seqpacket::Peer;
use hither_rounds::Question;
use hither_table::paths::HINT_SOCKET;
use hither_table::{Family, Monotonic, layout::HINT};
use hither_wire::name::Name;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;

/// Rounds that one user's hints may start in a second. Hints for unknown or fresh names start no
/// round and are not counted, so a flood of them uses up no share, not even the sender's own.
const ROUNDS_PER_SECOND_MAX: u32 = 200;
/// The user id that the kernel shows for all users that are not mapped into our user namespace
/// (PrivateUsers=).
const OVERFLOW_UID: u32 = 65_534;
/// Shares of all unmapped users together. Each of their processes has one.
const OVERFLOW_SHARES_MAX: u32 = 10;
/// Senders that are counted at the same time. Beyond that, hints of a new sender are dropped until
/// the next second.
const SENDERS_MAX: usize = 256;

/// How many rounds each sender's hints have started in this second.
#[derive(Debug, Default)]
struct Started {
    second: u64,
    senders: BTreeMap<Sender, u32>,
    /// The rounds of all senders with [`OVERFLOW_UID`].
    overflow: u32,
}

/// A user, or a process where the user id is [`OVERFLOW_UID`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sender {
    uid: u32,
    pid: i32,
}

impl Sender {
    fn of(peer: Peer) -> Sender {
        Sender { uid: peer.uid, pid: if peer.uid == OVERFLOW_UID { peer.pid } else { 0 } }
    }
}

/// A hint whose sender has not used up its share.
#[derive(Debug)]
pub(crate) struct Hint {
    pub sender: Sender,
    pub questions: Vec<Question>,
}

/// The socket for hints, and the limit for each sender.
#[derive(Debug)]
pub(crate) struct Hints {
    /// None if it could not be bound.
    socket: Option<Socket>,
    /// Device and inode of the socket's file.
    identity: Option<(u64, u64)>,
    started: Started,
    dropped: u64,
    taken: u64,
}

impl Hints {
    /// Binds the socket in the runtime directory. A failure is logged, and [`Hints::bind_again`] tries again.
    pub fn bind(dir: &Path) -> Hints {
        let path = dir.join(HINT_SOCKET);
        let socket = Socket::bind(&path).map_err(|error| {
            log::warn!(
                "cannot receive hints at '{}': {error}; entries that only other programs read are not refreshed before they expire",
                path.display()
            );
        });
        Hints {
            socket: socket.ok(),
            identity: identity(&path),
            started: Started::default(),
            dropped: 0,
            taken: 0,
        }
    }

    /// Binds the socket again if it could not be bound, or if its file has been removed or replaced.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        let path = dir.join(HINT_SOCKET);
        if self.socket.is_some() && self.identity == identity(&path) {
            return;
        }
        let socket = Socket::bind(&path).ok();
        let is_polled = |socket: &Socket| {
            let descriptor = socket.as_raw_fd();
            registry.register(&mut SourceFd(&descriptor), Source::Hints.token(), Interest::READABLE).is_ok()
        };
        self.socket = socket.filter(is_polled);
        self.identity = identity(&path);
    }

    /// The socket's descriptor, for the poll.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.socket.as_ref().map(|socket| socket.as_raw_fd())
    }

    /// The next hint. `Some(None)` if one was dropped, `None` if there are no more.
    pub fn next(&mut self, now: Monotonic) -> Option<Option<Hint>> {
        // One octet more than the longest hint, so that a longer message is recognised.
        let mut octets = [0; 2 + 255 + 1];
        let (len, peer) = self.socket.as_ref()?.receive(&mut octets).ok().flatten()?;
        let sender = peer.map(Sender::of).filter(|sender| self.started.admit(*sender, now));
        let questions = octets.get(..len).and_then(read);
        let hint = sender.zip(questions).map(|(sender, questions)| Hint { sender, questions });
        if hint.is_some() {
            self.taken += 1;
        } else {
            self.dropped += 1;
        }
        Some(hint)
    }

    /// Counts the rounds that a sender's hint has started.
    pub fn count_rounds(&mut self, sender: Sender, rounds: u32) {
        self.started.add(sender, rounds);
    }

    /// Hints that started a refresh, since the start.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Hints that were malformed or beyond their sender's share, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Started {
    fn admit(&mut self, sender: Sender, now: Monotonic) -> bool {
        if self.second != now.as_ms() / 1000 {
            self.second = now.as_ms() / 1000;
            self.senders.clear();
            self.overflow = 0;
        }
        let own = self.senders.get(&sender).copied();
        let all = sender.uid != OVERFLOW_UID || self.overflow < OVERFLOW_SHARES_MAX * ROUNDS_PER_SECOND_MAX;
        all && own.map_or(self.senders.len() < SENDERS_MAX, |own| own < ROUNDS_PER_SECOND_MAX)
    }

    fn add(&mut self, sender: Sender, rounds: u32) {
        if rounds > 0 {
            *self.senders.entry(sender).or_default() += rounds;
            self.overflow += if sender.uid == OVERFLOW_UID { rounds } else { 0 };
        }
    }
}

/// The questions of a hint: an octet for its kind, one for the address families, and the name in wire form.
fn read(octets: &[u8]) -> Option<Vec<Question>> {
    let [HINT, mask @ 1..=3, name @ ..] = octets else { return None };
    let name = Name::from_wire(name).ok()?.to_lower();
    let families = [Family::A, Family::Aaaa].into_iter().filter(|f| mask & (1 << *f as u8) != 0);
    Some(
        families
            .map(|family| Question {
                name,
                rtype: family.rtype(),
                dnssec_ok: false,
                checking_disabled: false,
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Sender {
        Sender::of(Peer { pid: 7, uid, gid: 0 })
    }

    /// How many of `hints` hints are followed if each starts `rounds` rounds.
    fn followed(started: &mut Started, sender: Sender, hints: usize, rounds: u32, now: Monotonic) -> usize {
        let mut one = |_: &usize| {
            let may = started.admit(sender, now);
            started.add(sender, if may { rounds } else { 0 });
            may
        };
        (0..hints).filter(|n| one(n)).count()
    }

    #[test]
    fn one_user_does_not_use_up_other_users_shares_and_many_users_do_not_fill_the_memory() {
        let (mut started, now) = (Started::default(), Monotonic::from_ms(5_000));
        assert_eq!(followed(&mut started, user(7), 1000, 1, now), ROUNDS_PER_SECOND_MAX as usize);
        assert!(started.admit(user(8), now), "another user");
        let users = (100..10_000).filter(|uid| followed(&mut started, user(*uid), 1, 1, now) == 1).count();
        assert_eq!((users, started.senders.len()), (SENDERS_MAX - 1, SENDERS_MAX));
        assert!(started.admit(user(7), Monotonic::from_ms(6_000)), "in the next second");
    }

    #[test]
    fn hints_that_start_no_round_use_up_no_share() {
        let (mut started, now) = (Started::default(), Monotonic::from_ms(5_000));
        let process = |pid| Sender::of(Peer { pid, uid: OVERFLOW_UID, gid: OVERFLOW_UID });
        for pid in 0..1000 {
            assert_eq!(followed(&mut started, process(pid), 100, 0, now), 100);
        }
        assert!(started.senders.is_empty(), "nothing is counted");
        assert_eq!(
            followed(&mut started, process(1), 1000, 1, now),
            ROUNDS_PER_SECOND_MAX as usize,
            "one process"
        );
        assert!(started.admit(process(2), now), "another process of an unmapped user");
        let all: usize = (2..100).map(|pid| followed(&mut started, process(pid), 1000, 1, now)).sum();
        assert_eq!(
            all,
            (OVERFLOW_SHARES_MAX - 1) as usize * ROUNDS_PER_SECOND_MAX as usize,
            "all of them together"
        );
        assert!(started.admit(user(7), now), "a mapped user has its own share");
    }

    #[test]
    fn a_socket_that_could_not_be_bound_is_bound_later() {
        let dir = std::env::temp_dir().join(format!("hither-hints-{}", std::process::id()));
        let poll = mio::Poll::new().expect("a poll");
        let mut hints = Hints::bind(&dir);
        assert!(hints.descriptor().is_none() && hints.next(Monotonic(0)).is_none());
        hints.bind_again(&dir, poll.registry());
        assert!(hints.descriptor().is_none());
        std::fs::create_dir(&dir).expect("a directory");
        hints.bind_again(&dir, poll.registry());
        let first = hints.descriptor();
        hints.bind_again(&dir, poll.registry());
        assert!(first.is_some() && hints.descriptor() == first);
        std::fs::remove_dir_all(&dir).expect("removable");
    }

    #[test]
    fn only_complete_hints_are_read() {
        let name: Name = "Www.Example".parse().expect("a name");
        let hint = |kind: u8, families: u8| [&[kind, families], name.as_wire()].concat();
        let both = read(&hint(HINT, 3)).expect("a hint");
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].name, name.to_lower());
        assert_eq!(read(&hint(HINT, 2)).expect("a hint")[0].rtype, Family::Aaaa.rtype());
        for odd in [hint(HINT, 0), hint(HINT, 4), hint(2, 1), hint(HINT, 1)[..5].to_vec(), vec![], vec![HINT]]
        {
            assert_eq!(read(&odd), None, "{odd:?}");
        }
        assert_eq!(read(&[hint(HINT, 1), vec![0]].concat()), None, "octets after the name");
    }
}
