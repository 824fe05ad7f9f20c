//! Hints of readers: an entry that they read from memory, without asking us, is still wanted when its time is nearly over.

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

/// Rounds that one user's hints may begin in a second. Hints that begin none, of names that are not known or still fresh, are not counted:
/// so who floods us with them uses up nobody's share, not even its own.
const PER_SECOND: u32 = 200;
/// Who has no name in our user namespace (PrivateUsers=): all others together. They are told apart by process, and have the share of some.
const OVERFLOW: u32 = 65_534;
const OTHERS: u32 = 10;
/// Who is counted at once; beyond, nobody new is heard until the next second.
const SENDERS_MAX: usize = 256;

/// How many rounds each sender's hints have begun in this second.
#[derive(Debug, Default)]
struct Begun {
    second: u64,
    senders: BTreeMap<Sender, u32>,
    /// Of those whose user has no name here.
    overflow: u32,
}

/// A user, or a process of those who have no name here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sender {
    uid: u32,
    pid: i32,
}

impl Sender {
    fn of(peer: Peer) -> Sender {
        Sender { uid: peer.uid, pid: if peer.uid == OVERFLOW { peer.pid } else { 0 } }
    }
}

/// A hint that is heard.
#[derive(Debug)]
pub(crate) struct Hint {
    pub sender: Sender,
    pub questions: Vec<Question>,
}

#[derive(Debug)]
pub(crate) struct Hints {
    /// None: it cannot be had, and nobody is heard.
    socket: Option<Socket>,
    /// Which file it is at.
    identity: Option<(u64, u64)>,
    begun: Begun,
    pub dropped: u64,
    pub taken: u64,
}

impl Hints {
    pub fn bind(dir: &Path) -> Hints {
        let path = dir.join(HINT_SOCKET);
        let socket = Socket::bind(&path).map_err(|error| {
            log::warn!(
                "cannot receive at '{}': {error}; what other programs read from the table is not refreshed ahead of time",
                path.display()
            );
        });
        Hints {
            socket: socket.ok(),
            identity: identity(&path),
            begun: Begun::default(),
            dropped: 0,
            taken: 0,
        }
    }

    /// Tries once more to be heard where that could not be had, or the file is another.
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

    pub fn descriptor(&self) -> Option<RawFd> {
        self.socket.as_ref().map(|socket| socket.as_raw_fd())
    }

    /// The next hint, or why there is none: `Some(None)` is one that is not heard.
    pub fn next(&mut self, now: Monotonic) -> Option<Option<Hint>> {
        // One octet more than the longest, so that a longer one shows.
        let mut octets = [0; 2 + 255 + 1];
        let (len, peer) = self.socket.as_ref()?.receive(&mut octets).ok().flatten()?;
        let sender = peer.map(Sender::of).filter(|sender| self.begun.may(*sender, now));
        let questions = octets.get(..len).and_then(read);
        let hint = sender.zip(questions).map(|(sender, questions)| Hint { sender, questions });
        if hint.is_some() {
            self.taken += 1;
        } else {
            self.dropped += 1;
        }
        Some(hint)
    }

    /// A sender's hint has begun so many rounds.
    pub fn has_begun(&mut self, sender: Sender, rounds: u32) {
        self.begun.add(sender, rounds);
    }
}

impl Begun {
    fn may(&mut self, sender: Sender, now: Monotonic) -> bool {
        if self.second != now.as_ms() / 1000 {
            self.second = now.as_ms() / 1000;
            self.senders.clear();
            self.overflow = 0;
        }
        let own = self.senders.get(&sender).copied();
        let all = sender.uid != OVERFLOW || self.overflow < OTHERS * PER_SECOND;
        all && own.map_or(self.senders.len() < SENDERS_MAX, |own| own < PER_SECOND)
    }

    fn add(&mut self, sender: Sender, rounds: u32) {
        if rounds > 0 {
            *self.senders.entry(sender).or_default() += rounds;
            self.overflow += if sender.uid == OVERFLOW { rounds } else { 0 };
        }
    }
}

/// Kind, families, name in wire form.
fn read(octets: &[u8]) -> Option<Vec<Question>> {
    let [HINT, families @ 1..=3, name @ ..] = octets else { return None };
    let name = Name::from_wire(name).ok()?.to_lower();
    let wanted = [Family::A, Family::Aaaa].into_iter().filter(|f| families & (1 << *f as u8) != 0);
    Some(
        wanted
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

    /// How many of so many hints are heard, each of which begins `rounds`.
    fn heard(begun: &mut Begun, sender: Sender, hints: usize, rounds: u32, now: Monotonic) -> usize {
        let mut one = |_: &usize| {
            let may = begun.may(sender, now);
            begun.add(sender, if may { rounds } else { 0 });
            may
        };
        (0..hints).filter(|n| one(n)).count()
    }

    #[test]
    fn one_user_cannot_use_up_what_others_may_send_nor_many_the_memory() {
        let (mut begun, now) = (Begun::default(), Monotonic::from_ms(5_000));
        assert_eq!(heard(&mut begun, user(7), 1000, 1, now), PER_SECOND as usize);
        assert!(begun.may(user(8), now), "another user");
        let users = (100..10_000).filter(|uid| heard(&mut begun, user(*uid), 1, 1, now) == 1).count();
        assert_eq!((users, begun.senders.len()), (SENDERS_MAX - 1, SENDERS_MAX));
        assert!(begun.may(user(7), Monotonic::from_ms(6_000)), "in the next second");
    }

    #[test]
    fn hints_that_come_to_nothing_drown_nobody() {
        let (mut begun, now) = (Begun::default(), Monotonic::from_ms(5_000));
        let process = |pid| Sender::of(Peer { pid, uid: OVERFLOW, gid: OVERFLOW });
        for pid in 0..1000 {
            assert_eq!(heard(&mut begun, process(pid), 100, 0, now), 100);
        }
        assert!(begun.senders.is_empty(), "nothing is counted, nothing kept");
        assert_eq!(heard(&mut begun, process(1), 1000, 1, now), PER_SECOND as usize, "one process");
        assert!(begun.may(process(2), now), "another of those without a name here");
        let all: usize = (2..100).map(|pid| heard(&mut begun, process(pid), 1000, 1, now)).sum();
        assert_eq!(all, (OTHERS - 1) as usize * PER_SECOND as usize, "all of them together");
        assert!(begun.may(user(7), now), "who has a name has a share");
    }

    #[test]
    fn a_socket_that_could_not_be_had_is_tried_once_more() {
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
    fn only_whole_hints_are_read() {
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
