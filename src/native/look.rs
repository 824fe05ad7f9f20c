//! One lookup, with what belongs to it: opening the table anew, telling the daemon that an entry is still wanted, asking it.

use crate::ask::ask;
use crate::handle::{Handle, Unusable};
use crate::sys;
use hither_table::{Entry, Family, Freshness, Key, Monotonic, NoEntry, Wanted, layout::RECORD_MAX};
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
        let mut found = Err(NoEntry::Busy);
        for _ in 0..2 {
            let before = self.current();
            match self.with_here(now, |view| view.find(&key, room).map(|entry| entry.shape())) {
                Err(Unusable::OtherNetwork) if self.is_outdated(now.0 / 1_000_000_000) => {
                    let _ = self.exchange(before);
                }
                Err(why) => return Look::None(why),
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

    /// Tells the daemon once per version that an entry whose time is nearly over is still wanted.
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

    /// Has the daemon find it out. `true`: the table has been brought up to date, or cannot hold the answer.
    #[must_use]
    pub fn ask(&self, name: &Name, wanted: Wanted) -> bool {
        let daemon = self.with_here(sys::now(), |view| view.dns_address());
        daemon.ok().flatten().is_some_and(|daemon| ask(&daemon, name, wanted))
    }

    /// Waits until something has been published since `seen` changes, at most so long; the changes so far.
    ///
    /// # Errors
    /// Why there is no table.
    pub fn wait(&self, seen: u64, timeout_ms: u32) -> Result<u64, Unusable> {
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
