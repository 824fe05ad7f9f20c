//! Records on their way to subscribers: marks, turns, and what happens when a socket is full.

use super::leases::{NONE, Told};
use super::state::Level;
use super::subscribers::{Answer, Gap};
use super::{Feed, SubscriberId};
use crate::{Change, RECORD_MAX, Record};
use hither_table::Family;

/// What is next for a subscriber.
enum Next {
    Gap,
    Answer(Answer),
    Change(Told),
}

impl Feed {
    /// Marks all subscribers of a lease that want the family.
    pub(super) fn mark(&mut self, lease: u32, family: Family, level: Level) {
        let mut subscription = self.leases.first(lease);
        while subscription != NONE {
            let (next, queue) = self.leases.mark(subscription, family, level);
            if let Some(id) = queue
                && let Some(one) = self.subscribers.get_mut(id).filter(|one| !one.is_leaving)
            {
                if one.tail == NONE {
                    one.head = subscription;
                } else {
                    self.leases.set_next_marked(one.tail, subscription);
                }
                one.tail = subscription;
                self.subscribers.wake(id);
            }
            subscription = next;
        }
    }

    fn next(&mut self) -> Option<(u32, Next)> {
        let (id, one) = self.subscribers.turn()?;
        if one.gap == Gap::Due {
            return Some((id, Next::Gap));
        }
        if let Some(answer) = one.answer {
            return Some((id, Next::Answer(answer)));
        }
        let told = self.leases.told(one.head);
        if told.is_none() {
            // A mark that leads nowhere would be a bug. It must not keep the loop busy.
            (one.head, one.tail) = (NONE, NONE);
            self.subscribers.end_turn();
        }
        told.map(|told| (id, Next::Change(told)))
    }

    /// The next record, written into `out`, and the subscriber that gets it. `version` is the table's last
    /// one. Afterwards call [`Feed::note_sent`], [`Feed::note_full`] or [`Feed::disconnect`].
    pub fn next_record<'o>(
        &mut self,
        version: u64,
        out: &'o mut [u8; RECORD_MAX],
    ) -> Option<(SubscriberId, &'o [u8])> {
        let (id, next) = self.next()?;
        let record = match next {
            Next::Gap => Record::Gap { version },
            Next::Answer(Answer::Accepted { names, version }) => Record::Accepted { names, version },
            Next::Answer(Answer::Refused { reason, names }) => Record::Refused { reason, names },
            Next::Change(Told { lease, family, cause, is_coalesced }) => {
                let (version, set_version) = self.leases.versions(lease, family);
                let name = self.leases.octets_of_name(lease);
                Record::Change(Change { cause, family, coalesced: is_coalesced, version, set_version, name })
            }
        };
        Some((SubscriberId(id), record.write(out)))
    }

    /// The socket took the record of the last [`Feed::next_record`]. Returns whether it was the answer to a
    /// datagram, so that the next one may be read.
    pub fn note_sent(&mut self) -> bool {
        let Some((id, next)) = self.next() else { return false };
        let Some(one) = self.subscribers.get_mut(id) else { return false };
        let is_answer = matches!(next, Next::Answer(_));
        match next {
            Next::Gap => {
                one.gap = Gap::Told;
                self.counts.gaps += 1;
            }
            Next::Answer(_) => one.answer = None,
            Next::Change(told) => {
                self.counts.records += 1;
                if let Some(next) = self.leases.note_told(one.head, told.family) {
                    one.head = next;
                    if next == NONE {
                        one.tail = NONE;
                    }
                }
            }
        }
        if one.head == NONE && one.answer.is_none() {
            one.gap = Gap::None;
        }
        self.subscribers.end_turn();
        is_answer
    }

    /// The socket did not take the record of the last [`Feed::next_record`], since its subscriber does not
    /// read. It gets none until [`Feed::note_writable`], and first one of a gap.
    pub fn note_full(&mut self) {
        if let Some((_, one)) = self.subscribers.turn() {
            one.is_behind = true;
            one.gap = if one.gap == Gap::Told { Gap::Told } else { Gap::Due };
            self.subscribers.end_turn();
        }
    }

    /// The socket of a subscriber takes records again.
    pub fn note_writable(&mut self, id: SubscriberId) {
        if let Some(one) = self.subscribers.get_mut(id.0) {
            one.is_behind = false;
            self.subscribers.wake(id.0);
        }
    }

    /// Whether a record waits for its subscriber, whose socket is not full.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.subscribers.is_anybody_ready()
    }
}
