//! One lookup, with what belongs to it: opening the table anew, telling the daemon that an entry is still wanted, asking it.

use crate::ask::{Asked, CALL, PATIENCE, SILENCE, ask};
use crate::far::Far;
use crate::handle::{Handle, Unusable};
use crate::sys;
use core::net::SocketAddr;
use hither_table::{Entry, Family, Freshness, Key, Monotonic, NoEntry, Shape, Wanted, layout::RECORD_MAX};
use hither_wire::name::Name;

/// Room for a copy of one record. Most are under half a kilobyte.
pub type Room = [u64; RECORD_MAX];

/// What the table says.
#[derive(Clone, Copy, Debug)]
pub enum Look<'r> {
    /// The entry, and how far it answers.
    Found(Entry<'r>, Freshness, Monotonic),
    /// It does not have the name.
    Missing,
    /// It was changed under every try.
    Busy,
    /// The entry is larger than the room.
    TooLarge,
    /// There is none.
    None(Unusable),
}

impl Handle {
    /// Looks `name` (in lower case) up, without a system call but for the first time and after a replacement.
    pub fn look<'r>(&self, name: &Name, wanted: Wanted, room: &'r mut [u64]) -> Look<'r> {
        let key = Key::of(name);
        let now = sys::now();
        let found = match self.far(now) {
            Some(far) => match self.find_far(far, &key, now, room) {
                Ok(found) => found,
                Err(why) => return Look::None(why),
            },
            None => match self.find_mapped(&key, wanted, now, room) {
                Ok(found) => found,
                Err(why) => return Look::None(why),
            },
        };
        match found {
            Ok(shape) => {
                let entry = Entry::of(room, shape);
                let freshness = entry.freshness(wanted, now);
                self.tell(name, &entry, wanted, now);
                Look::Found(entry, freshness, now)
            }
            Err(NoEntry::Missing | NoEntry::Replaced) => Look::Missing,
            Err(NoEntry::Busy) => Look::Busy,
            Err(NoEntry::TooLarge) => Look::TooLarge,
        }
    }

    /// Finds an entry in the table that is mapped, opening it anew where another has taken its place.
    fn find_mapped(
        &self,
        key: &Key,
        wanted: Wanted,
        now: Monotonic,
        room: &mut [u64],
    ) -> Result<Result<Shape, NoEntry>, Unusable> {
        let mut found = Err(NoEntry::Busy);
        for _ in 0..2 {
            let before = self.current();
            match self.with_here(now, |view| view.find(key, room).map(|entry| entry.shape())) {
                Err(Unusable::OtherNetwork) if self.is_outdated(now.0 / 1_000_000_000) => {
                    let _ = self.exchange(before);
                }
                Err(why) => return Err(why),
                Ok(Err(NoEntry::Replaced)) => {
                    let _ = self.exchange(before);
                }
                Ok(other) => {
                    let fresh = other
                        .is_ok_and(|shape| Entry::of(room, shape).freshness(wanted, now) == Freshness::Fresh);
                    let hopeless = matches!(other, Err(NoEntry::Busy | NoEntry::TooLarge));
                    found = other;
                    if fresh || hopeless || !self.is_outdated(now.0 / 1_000_000_000) {
                        break;
                    }
                    // The daemon may have put another file there without a last word to readers of this one.
                    let _ = self.exchange(before);
                }
            }
        }
        Ok(found)
    }

    /// Finds an entry in the table that is not mapped: the one that is there at this moment.
    #[cold]
    fn find_far(
        &self,
        far: Result<Far, Unusable>,
        key: &Key,
        now: Monotonic,
        room: &mut [u64],
    ) -> Result<Result<Shape, NoEntry>, Unusable> {
        match far?.find(key, room) {
            // Another one took its place since it was opened.
            Err(NoEntry::Replaced) => match self.far(now) {
                Some(far) => Ok(far?.find(key, room)),
                None => Ok(Err(NoEntry::Busy)),
            },
            found => Ok(found),
        }
    }

    /// Tells the daemon once per version that an entry whose time is nearly over is still wanted.
    #[cold]
    fn tell(&self, name: &Name, entry: &Entry<'_>, wanted: Wanted, now: Monotonic) {
        let ending = |family| {
            wanted.includes(family)
                && entry.family(family).is_some_and(|set| !set.expired(now) && set.is_ending(now))
        };
        let families = u8::from(ending(Family::A)) | u8::from(ending(Family::Aaaa)) << 1;
        if families == 0 || !self.first_hint(entry.version()) {
            return;
        }
        let mut hint = [0; 2 + 255];
        let octets = [hither_table::layout::HINT, families];
        let mut len = 0;
        for (to, from) in hint.iter_mut().zip(octets.iter().chain(name.as_wire())) {
            *to = *from;
            len += 1;
        }
        if let (Some(path), Some(hint)) = (self.path(b"/hint"), hint.get(..len)) {
            sys::send_local(&path, hint);
        }
    }

    /// Has the daemon find it out. `true`: the table has been brought up to date, or cannot hold the answer. `until` is when the program's
    /// call has waited long enough for all the names it looks for; `None` for the first of them.
    ///
    /// A daemon that is silent, and in whose table nothing moves meanwhile, hangs: it is not asked for a while. One that is only slow, since
    /// its upstreams are, counts the query.
    #[must_use]
    #[cold]
    pub fn ask(&self, name: &Name, wanted: Wanted, until: &mut Option<Monotonic>) -> bool {
        let now = sys::now();
        let end = *until.get_or_insert(now.plus(CALL));
        if self.is_silent(now) || end <= now {
            return false;
        }
        let Some((Some(daemon), before)) = self.daemon(now) else { return false };
        let patience = now.plus(PATIENCE);
        let asked = ask(&daemon, name, wanted, (now, end.min(patience)));
        if asked == Asked::Silent
            && patience <= end
            && self.daemon(now).is_none_or(|(_, after)| after == before)
        {
            self.keep_from_asking(sys::now().plus(SILENCE));
        }
        asked == Asked::Answered
    }

    /// Where the daemon answers, and its pulse.
    #[cold]
    fn daemon(&self, now: Monotonic) -> Option<(Option<SocketAddr>, u64)> {
        match self.far(now) {
            Some(far) => {
                let far = far.ok()?;
                Some((far.head.dns_address(), far.pulse()?))
            }
            None => self.with_here(now, |view| (view.dns_address(), view.pulse())).ok(),
        }
    }

    /// Waits until something has been published since `seen` changes, at most so long; the changes so far.
    ///
    /// # Errors
    /// Why there is no table.
    pub fn wait(&self, seen: u64, timeout_ms: u32) -> Result<u64, Unusable> {
        if let Some(far) = self.far(sys::now()) {
            let far = far?;
            // Nobody tells of changes in one whose place another has taken since it was opened.
            if !far.head.replaced() {
                if far.head.changes() != seen {
                    return Ok(far.head.changes());
                }
                far.wait(seen, timeout_ms);
            }
            // Whatever has come to be there meanwhile.
            return match self.far(sys::now()) {
                Some(far) => far.map(|far| far.head.changes()),
                None => self.with(|view| view.changes().0),
            };
        }
        let before = self.current();
        let (changes, replaced) = self.with(|view| {
            if let (changes, Some(word)) = view.changes()
                && changes == seen
                && !view.replaced()
            {
                sys::wait(word, seen as u32, timeout_ms);
            }
            (view.changes().0, view.replaced())
        })?;
        if !replaced {
            return Ok(changes);
        }
        self.exchange(before)?;
        self.with(|view| view.changes().0)
    }
}
