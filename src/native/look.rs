//! Lookups, and what they may need: opening the table that replaced another, sending a hint, asking
//! the daemon.

use crate::ask::{Answered, CALL_WAIT_MAX, HANG_PAUSE, REPLY_WAIT_MAX, Unanswered, Wait, ask};
use crate::handle::{Exchanged, Handle, Unusable};
use crate::sys;
use crate::unmapped::Unmapped;
use core::net::SocketAddr;
use hither_table::layout::HINT;
use hither_table::paths::HINT_SOCKET;
use hither_table::{
    Entry, Family, FamilyPolicy, Freshness, Key, Monotonic, NoEntry, Shape, StaleTime, View, Wanted,
};
use hither_wire::name::{NAME_MAX, Name};

/// An entry that was found, and how fresh it is.
#[derive(Clone, Copy, Debug)]
pub struct Found<'r> {
    /// The entry, whose words are in the caller's buffer.
    pub entry: Entry<'r>,
    /// How fresh the wanted families of the entry are at `now`.
    pub freshness: Freshness,
    /// For how long addresses that have expired may be used.
    pub stale: StaleTime,
    /// How both families are to be used.
    pub families: FamilyPolicy,
    /// The time of the lookup.
    pub now: Monotonic,
}

impl Found<'_> {
    /// Whether it answers the lookup. What has expired after the daemon has answered is what it
    /// answered with: stale data (RFC 8767), or a TTL of 0.
    #[must_use]
    pub fn is_answer(&self, wanted: Wanted, has_asked: bool) -> bool {
        let is_known = || self.entry.freshness(wanted, StaleTime::UNKNOWN, self.now) != Freshness::Partial;
        self.freshness == Freshness::Fresh || has_asked && is_known()
    }
}

impl Handle {
    /// Looks up `name`, which must be in lower case, and copies its entry into `out`. A fresh entry of a
    /// mapped table takes no system call, except now and then to determine the network namespace. Sends
    /// the daemon a hint if the entry is about to expire.
    ///
    /// # Errors
    /// Outer: an [`Unusable`] if there is no table. Inner: a [`NoEntry`] if the table has no entry.
    pub fn look<'r>(
        &self,
        name: &Name,
        wanted: Wanted,
        out: &'r mut [u64],
    ) -> Result<Result<Found<'r>, NoEntry>, Unusable> {
        let key = Key::of(name);
        let now = sys::now();
        let found = match self.unmapped(now) {
            Some(unmapped) => self.find_unmapped(unmapped, &key, now, out)?,
            None => self.find_mapped(&key, wanted, now, out)?,
        };
        Ok(found.map(|(shape, Rules { stale, families })| {
            let entry = Entry::of(out, shape);
            let freshness = entry.freshness(wanted, stale, now);
            self.hint(name, &entry, wanted, now);
            Found { entry, freshness, stale, families, now }
        }))
    }

    /// Finds an entry in the mapped table. If that table was replaced, its successor is opened and
    /// searched.
    fn find_mapped(
        &self,
        key: &Key,
        wanted: Wanted,
        now: Monotonic,
        out: &mut [u64],
    ) -> Result<Result<(Shape, Rules), NoEntry>, Unusable> {
        let mut found = Err(NoEntry::Busy);
        for _ in 0..2 {
            let before = self.current();
            match self.with_here(now, |view| found_in(view, key, out)) {
                Err(Unusable::OtherNetwork) if self.check_outdated(now) => {
                    let _ = self.exchange(before);
                }
                Err(why) => return Err(why),
                Ok(Err(NoEntry::Replaced)) => {
                    if self.exchange(before) == Ok(Exchanged::Busy) {
                        return self.with_own_here(now, |view| found_in(view, key, out));
                    }
                }
                Ok(other) => {
                    let is_fresh = other.is_ok_and(|(shape, rules)| {
                        Entry::of(out, shape).freshness(wanted, rules.stale, now) == Freshness::Fresh
                    });
                    let is_final = is_fresh || matches!(other, Err(NoEntry::Busy | NoEntry::TooLarge));
                    found = other;
                    // The daemon may have put another file there without marking this one, see
                    // `hither_table::Recheck`.
                    if is_final || !self.check_outdated(now) {
                        break;
                    }
                    let _ = self.exchange(before);
                }
            }
        }
        Ok(found)
    }

    /// Finds an entry in the table that this process must not map.
    #[cold]
    fn find_unmapped(
        &self,
        unmapped: Result<Unmapped, Unusable>,
        key: &Key,
        now: Monotonic,
        out: &mut [u64],
    ) -> Result<Result<(Shape, Rules), NoEntry>, Unusable> {
        match unmapped?.find(key, out) {
            // The table was replaced since it was opened.
            Err(NoEntry::Replaced) => match self.unmapped(now) {
                Some(unmapped) => Ok(unmapped?.find(key, out)),
                None => Ok(Err(NoEntry::Busy)),
            },
            found => Ok(found),
        }
    }

    /// Sends the daemon a hint if the entry is about to expire, once for each version.
    #[cold]
    fn hint(&self, name: &Name, entry: &Entry<'_>, wanted: Wanted, now: Monotonic) {
        let is_ending = |family| {
            wanted.includes(family)
                && entry.family(family).is_some_and(|set| !set.expired(now) && set.is_ending(now))
        };
        let families = u8::from(is_ending(Family::A)) | u8::from(is_ending(Family::Aaaa)) << 1;
        if families == 0 || !self.note_hint(entry.version()) {
            return;
        }
        let mut hint = [0; 2 + NAME_MAX];
        let octets = [HINT, families];
        let mut len = 0;
        for (to, from) in hint.iter_mut().zip(octets.iter().chain(name.as_wire())) {
            *to = *from;
            len += 1;
        }
        let path = self.dir().and_then(|mut path| path.push_file(HINT_SOCKET).map(|()| path));
        if let (Some(path), Some(hint)) = (path, hint.get(..len)) {
            sys::send_to_path(&path, hint);
        }
    }

    /// Asks the daemon for `name`. `true`: the daemon has answered, so that the table has the answer
    /// unless it is too large. `until` is the time at which the program's call ends, which may ask for
    /// several names; `None` before the first of them.
    ///
    /// A daemon hangs if it does not reply and its table shows no activity meanwhile. It is then not
    /// asked for a while. A daemon that waits for its upstreams shows activity, since it counts the
    /// query, so it is asked again.
    #[must_use]
    #[cold]
    pub fn ask(&self, name: &Name, wanted: Wanted, until: &mut Option<Monotonic>) -> bool {
        self.ask_once::<false>(name, wanted, until).is_some()
    }

    /// [`Handle::ask`], in haste or not, see [`ask`].
    #[cold]
    pub(crate) fn ask_once<const HASTY: bool>(
        &self,
        name: &Name,
        wanted: Wanted,
        until: &mut Option<Monotonic>,
    ) -> Option<Answered> {
        let now = sys::now();
        let end = *until.get_or_insert(now.plus(CALL_WAIT_MAX));
        if self.is_silent(now) || end <= now {
            return None;
        }
        let (Some(daemon), before) = self.daemon(now)? else { return None };
        let reply_end = now.plus(REPLY_WAIT_MAX);
        let asked = ask::<HASTY>(&daemon, name, wanted, Wait { began: now, until: end.min(reply_end) });
        if asked == Err(Unanswered::Silent)
            && reply_end <= end
            && self.daemon(now).is_none_or(|(_, after)| after == before)
        {
            self.note_silence(sys::now().plus(HANG_PAUSE));
        }
        asked.ok()
    }

    /// The address at which the daemon answers queries, and its activity ([`hither_table::View::activity`]).
    #[cold]
    fn daemon(&self, now: Monotonic) -> Option<(Option<SocketAddr>, u64)> {
        match self.unmapped(now) {
            Some(unmapped) => {
                let unmapped = unmapped.ok()?;
                Some((unmapped.head.dns_address(), unmapped.activity()?))
            }
            None => self.with_here(now, |view| (view.dns_address(), view.activity())).ok(),
        }
    }

    /// Waits until the table has seen more than `seen` changes, at most `timeout_ms` milliseconds, and
    /// returns their number. May return earlier, with the number unchanged.
    ///
    /// # Errors
    /// Why there is no table.
    pub fn wait(&self, seen: u64, timeout_ms: u32) -> Result<u64, Unusable> {
        if let Some(unmapped) = self.unmapped(sys::now()) {
            let unmapped = unmapped?;
            // A table that was replaced since it was opened has no more changes.
            if !unmapped.head.replaced() {
                if unmapped.head.changes() != seen {
                    return Ok(unmapped.head.changes());
                }
                unmapped.wait(seen, timeout_ms);
            }
            // The table may have been replaced meanwhile.
            return match self.unmapped(sys::now()) {
                Some(unmapped) => unmapped.map(|unmapped| unmapped.head.changes()),
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

/// What the header says of the use of entries.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub stale: StaleTime,
    pub families: FamilyPolicy,
}

/// Copies the entry of `key` into `out`; returns its shape, and what the header says of its use.
fn found_in(view: View<'_>, key: &Key, out: &mut [u64]) -> Result<(Shape, Rules), NoEntry> {
    let rules = Rules { stale: view.stale_time(), families: view.families() };
    view.find(key, out).map(|entry| (entry.shape(), rules))
}
