//! A connection to a name: its addresses from the table, or from there after the daemon was asked, and
//! the race between them ([`crate::race`]).

use crate::ask::{Answered, CALL_WAIT_MAX};
use crate::candidates::Candidates;
use crate::handle::{Handle, Unusable};
use crate::race::{Begun, CANDIDATES_MAX, Network, Race, run};
use crate::sys::{self, Descriptor};
use crate::text::is_special;
use core::ffi::c_int;
use core::net::SocketAddr;
use core::time::Duration;
use hither_table::layout::RECORD_MAX;
use hither_table::{Monotonic, NoEntry, Wanted};
use hither_wire::name::Name;

/// A connected TCP socket on which calls wait, with close-on-exec. Its owner closes it.
#[derive(Debug)]
pub struct Stream(pub c_int);

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotConnected {
    /// There is no table that could be read, so that the daemon is not known either.
    Unusable(Unusable),
    /// Neither the table nor the daemon has an answer: the resolver has to be asked.
    Unanswered,
    /// The name does not exist, or has no addresses.
    NoAddress,
    /// No address could be connected to, or not in time: an error of errno(3). ETIMEDOUT: the time was
    /// over first.
    Failed(c_int),
}

/// The table's answer about a name.
#[derive(Debug)]
pub struct Seen {
    /// The addresses that may be tried.
    pub candidates: Candidates,
    /// Whether both families are known, so that asking would not change the answer.
    pub is_final: bool,
}

/// The table and the daemon, for one name.
pub trait Source {
    /// The table's answer. `has_asked`: the daemon has answered both families just now, and what is
    /// expired nevertheless is stale data that it serves (RFC 8767).
    ///
    /// # Errors
    /// Why there is none.
    fn look(&mut self, has_asked: bool) -> Result<Option<Seen>, NotConnected>;

    /// Asks the daemon for both families; `None` if it does not answer. In haste the second family is
    /// waited for only for some time once the first one has records.
    fn ask(&mut self, is_hasty: bool) -> Option<Answered>;
}

/// The addresses of a name: those of the table if it knows both families, else those that it has after
/// the daemon was asked.
///
/// # Errors
/// Why there are none.
pub fn find(source: &mut impl Source) -> Result<Candidates, NotConnected> {
    for is_hasty in [None, Some(true), Some(false)] {
        let answered = is_hasty.map(|is_hasty| source.ask(is_hasty));
        if let Some(seen) = source.look(answered == Some(Some(Answered::All)))? {
            match (seen.candidates.is_empty(), seen.is_final) {
                (true, true) => return Err(NotConnected::NoAddress),
                (false, true) => return Ok(seen.candidates),
                // One family is not known, and the other has addresses.
                (false, false) if answered.is_some() => return Ok(seen.candidates),
                _ => {}
            }
        }
        if answered == Some(None) {
            break;
        }
    }
    Err(NotConnected::Unanswered)
}

/// Connects to the first address that answers, see [`crate::race`], until the table's clock shows
/// `until`.
///
/// # Errors
/// An error of errno(3), as in [`NotConnected::Failed`].
pub fn race(candidates: &Candidates, port: u16, until: Monotonic) -> Result<Stream, c_int> {
    let mut race = Race::new(candidates.iter().map(|one| one.rtt), until);
    let won = run(&mut race, &mut Sockets { candidates, port }).map_err(|lost| lost.errno)?;
    sys::into_blocking(won).map(Stream)
}

struct Sockets<'c> {
    candidates: &'c Candidates,
    port: u16,
}

impl Network for Sockets<'_> {
    type Attempt = Descriptor;

    fn now(&mut self) -> Monotonic {
        sys::now()
    }

    fn begin(&mut self, n: usize) -> Begun<Descriptor> {
        match self.candidates.get(n) {
            Some(one) => sys::begin_stream(&SocketAddr::new(one.address, self.port)),
            None => Begun::Failed(libc::EADDRNOTAVAIL),
        }
    }

    fn wait(&mut self, attempts: &[Option<Descriptor>; CANDIDATES_MAX], until: Monotonic) {
        sys::wait_for_any(attempts, until);
    }

    fn is_connected(&mut self, attempt: &Descriptor) -> Result<bool, c_int> {
        sys::has_connected(attempt)
    }
}

impl Handle {
    /// Connects over TCP to `name`, which must be in lower case, within `timeout`. See libhither(3),
    /// `hither_connect`.
    ///
    /// # Errors
    /// A [`NotConnected`].
    #[cold]
    pub fn connect(&self, name: &Name, port: u16, timeout: Duration) -> Result<Stream, NotConnected> {
        if is_special(name) || name.is_root() {
            return Err(NotConnected::Unanswered);
        }
        let began = sys::now();
        let until = began.plus(timeout);
        let mut ask_until = Some(began.plus(CALL_WAIT_MAX).min(until));
        let candidates = find(&mut Asking { handle: self, name, until: &mut ask_until })?;
        race(&candidates, port, until).map_err(NotConnected::Failed)
    }

    /// The table's answer for [`Source::look`]; `Err(None)`: `room` is too small for the record.
    #[inline(never)]
    fn seen(
        &self,
        name: &Name,
        has_asked: bool,
        room: &mut [u64],
    ) -> Result<Option<Seen>, Option<NotConnected>> {
        match self.look(name, Wanted::Both, room) {
            Ok(Ok(found)) => Ok(Some(Seen {
                candidates: Candidates::of(&found.entry, found.families.order, found.now, has_asked),
                is_final: found.is_answer(Wanted::Both, has_asked),
            })),
            Ok(Err(NoEntry::TooLarge)) => Err(None),
            Ok(Err(NoEntry::Missing | NoEntry::Replaced | NoEntry::Busy)) => Ok(None),
            Err(why) => Err(Some(NotConnected::Unusable(why))),
        }
    }

    /// [`Handle::seen`] with room for the largest record. Not inlined: a program may have a small stack.
    #[inline(never)]
    fn seen_large(&self, name: &Name, has_asked: bool) -> Result<Option<Seen>, NotConnected> {
        self.seen(name, has_asked, &mut [0; RECORD_MAX])
            .map_err(|why| why.unwrap_or(NotConnected::Unanswered))
    }
}

struct Asking<'h> {
    handle: &'h Handle,
    name: &'h Name,
    until: &'h mut Option<Monotonic>,
}

impl Source for Asking<'_> {
    fn look(&mut self, has_asked: bool) -> Result<Option<Seen>, NotConnected> {
        match self.handle.seen(self.name, has_asked, &mut [0; 128]) {
            Ok(seen) => Ok(seen),
            Err(Some(why)) => Err(why),
            Err(None) => self.handle.seen_large(self.name, has_asked),
        }
    }

    fn ask(&mut self, is_hasty: bool) -> Option<Answered> {
        let (handle, name) = (self.handle, self.name);
        if is_hasty {
            handle.ask_once::<true>(name, Wanted::Both, self.until)
        } else {
            handle.ask_once::<false>(name, Wanted::Both, self.until)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidates::tests::candidates;
    use std::vec::Vec;

    /// What a scripted table has before and after each query, and whether the daemon answers.
    struct Script {
        seen: Vec<Option<(usize, bool)>>,
        answers: Vec<Option<Answered>>,
        asked: Vec<bool>,
        last: Option<Answered>,
    }

    impl Source for Script {
        fn look(&mut self, has_asked: bool) -> Result<Option<Seen>, NotConnected> {
            let is_all = self.last == Some(Answered::All);
            assert_eq!(has_asked, is_all, "expired addresses count only if both families were answered");
            let seen = self.seen.remove(0);
            Ok(seen.map(|(count, is_final)| Seen { candidates: candidates(count), is_final }))
        }

        fn ask(&mut self, is_hasty: bool) -> Option<Answered> {
            self.asked.push(is_hasty);
            self.last = self.answers.remove(0);
            self.last
        }
    }

    /// The number of candidates, or why there are none, and how often the daemon was asked.
    fn found(
        seen: &[Option<(usize, bool)>],
        answers: &[Option<Answered>],
    ) -> (Result<usize, NotConnected>, usize) {
        let mut script =
            Script { seen: seen.to_vec(), answers: answers.to_vec(), asked: Vec::new(), last: None };
        let found = find(&mut script).map(|candidates| candidates.iter().count());
        assert!(script.seen.is_empty() && script.answers.is_empty(), "nothing is left: {seen:?}");
        assert!(script.asked.iter().eq([true, false].iter().take(script.asked.len())), "{:?}", script.asked);
        (found, script.asked.len())
    }

    #[test]
    fn the_daemon_is_asked_only_for_what_the_table_lacks() {
        use NotConnected::{NoAddress, Unanswered};
        let (all, one) = (Some(Answered::All), Some(Answered::One));
        assert_eq!(found(&[Some((3, true))], &[]), (Ok(3), 0));
        assert_eq!(found(&[Some((0, true))], &[]), (Err(NoAddress), 0));
        assert_eq!(found(&[None, Some((2, true))], &[all]), (Ok(2), 1));
        assert_eq!(found(&[None, Some((1, false))], &[one]), (Ok(1), 1), "the second family is late");
        assert_eq!(found(&[None, Some((0, true))], &[all]), (Err(NoAddress), 1));
        assert_eq!(found(&[Some((0, false)), Some((0, false)), Some((1, true))], &[one, all]), (Ok(1), 2));
        assert_eq!(
            found(&[None, None, None], &[all, all]),
            (Err(Unanswered), 2),
            "it does not fit the table"
        );
        assert_eq!(found(&[None, None], &[None]), (Err(Unanswered), 1));
        assert_eq!(found(&[Some((1, false)), Some((1, false))], &[None]), (Ok(1), 1), "better than nothing");
    }
}
