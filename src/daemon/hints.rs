//! Hints of readers: an entry that they read from memory, without asking us, is still wanted when its time is nearly over.

use super::tokens::Source;
use crate::open::identity;
use hither_net::hints::Hints as Socket;
use hither_rounds::Question;
use hither_table::{Family, Monotonic, layout::HINT};
use hither_wire::name::Name;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;

/// Hints of one user in a second; what is beyond is dropped.
const PER_SECOND: u32 = 200;
/// Who has no name in our user namespace (PrivateUsers=): all others together, who get the share of some.
const OVERFLOW: u32 = 65_534;
const OTHERS: u32 = 10;
/// Users whose hints are counted at once; beyond, nobody new is heard until the next second.
const USERS_MAX: usize = 256;

/// How many hints each user has sent in this second.
#[derive(Debug, Default)]
struct Budget {
    second: u64,
    users: BTreeMap<u32, u32>,
}

#[derive(Debug)]
pub(super) struct Hints {
    /// None: it cannot be had, and nobody is heard.
    socket: Option<Socket>,
    /// Which file it is at.
    identity: Option<(u64, u64)>,
    budget: Budget,
    pub dropped: u64,
    pub taken: u64,
}

impl Hints {
    pub fn bind(dir: &Path) -> Hints {
        let path = dir.join("hint");
        let socket = Socket::bind(&path).map_err(|error| {
            log::warn!(
                "cannot receive at '{}': {error}; what other programs read from the table is not refreshed ahead of time",
                path.display()
            );
        });
        Hints {
            socket: socket.ok(),
            identity: identity(&path),
            budget: Budget::default(),
            dropped: 0,
            taken: 0,
        }
    }

    /// Tries once more to be heard where that could not be had, or the file is another.
    pub fn bind_again(&mut self, dir: &Path, registry: &Registry) {
        let path = dir.join("hint");
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

    /// The questions of the next hint; `None` when there is none. A hint that is not heard has no questions.
    pub fn next(&mut self, now: Monotonic) -> Option<Vec<Question>> {
        // One octet more than the longest, so that a longer one shows.
        let mut octets = [0; 2 + 255 + 1];
        let (len, uid) = self.socket.as_ref()?.receive(&mut octets).ok().flatten()?;
        let heard = uid.is_some_and(|uid| self.budget.may(uid, now));
        match octets.get(..len).filter(|_| heard).and_then(read) {
            Some(questions) => {
                self.taken += 1;
                Some(questions)
            }
            None => {
                self.dropped += 1;
                Some(Vec::new())
            }
        }
    }
}

impl Budget {
    fn may(&mut self, uid: u32, now: Monotonic) -> bool {
        if self.second != now.as_ms() / 1000 {
            self.second = now.as_ms() / 1000;
            self.users.clear();
        }
        if self.users.len() >= USERS_MAX && !self.users.contains_key(&uid) {
            return false;
        }
        let sent = self.users.entry(uid).or_default();
        *sent += 1;
        *sent <= if uid == OVERFLOW { OTHERS * PER_SECOND } else { PER_SECOND }
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

    #[test]
    fn one_user_cannot_use_up_what_others_may_send_nor_many_the_memory() {
        let (mut budget, now) = (Budget::default(), Monotonic::from_ms(5_000));
        let heard = (0..1000).filter(|_| budget.may(7, now)).count();
        assert_eq!(heard, PER_SECOND as usize);
        assert!(budget.may(8, now), "another user");
        let users = (100..10_000).filter(|uid| budget.may(*uid, now)).count();
        assert_eq!((users, budget.users.len()), (USERS_MAX - 2, USERS_MAX));
        assert!(budget.may(7, Monotonic::from_ms(6_000)), "in the next second");
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
