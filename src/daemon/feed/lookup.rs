//! What is known of a name that is leased: hither's own answer, or the table's entry.

use hither_feed::server::{Secrets, Seen};
use hither_rounds::{Question, Rounds};
use hither_table::{Family, Key, Monotonic, Reader, Snapshot};
use hither_wire::name::Name;
use std::fmt::Write as _;

/// Looks names up, and keeps the memory for that.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    snapshot: Box<Snapshot>,
    text: String,
}

impl Lookup {
    /// What is known of both families of a name in lower case.
    pub fn look(
        &mut self,
        rounds: &Rounds,
        reader: &Reader,
        secrets: &Secrets,
        name: &Name,
        now: Monotonic,
    ) -> [Seen; 2] {
        let is_known = reader.lookup(&Key::of(name), &mut self.snapshot).is_ok();
        let stale = reader.stale_time();
        [Family::A, Family::Aaaa].map(|family| {
            let question =
                Question { name: *name, rtype: family.rtype(), dnssec_ok: false, checking_disabled: false };
            if let Some(own) = rounds.own_answer(&question) {
                self.text.clear();
                // Writing to a String does not fail.
                let _ = write!(self.text, "{:?} {} {:?}", own.reason, own.exists, own.data);
                return Seen::Local { answer: secrets.hash(self.text.as_bytes()) };
            }
            let view = self.snapshot.family(family).filter(|_| is_known);
            Seen::of(view, stale, now, secrets)
        })
    }
}
