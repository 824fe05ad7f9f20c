//! Checks every entry of a table, for operators and tests.

use crate::key::Key;
use crate::layout::{LINE, TRIES_MAX};
use crate::reader::Reader;
use crate::record::Snapshot;

impl Reader {
    /// Checks every entry of the table.
    #[must_use]
    pub fn verify(&self) -> VerifyReport {
        let mut report = VerifyReport::default();
        let mut snapshot = Snapshot::new();
        for at in self.plan.index..self.plan.data {
            if self.peek(at) == 0 {
                continue;
            }
            report.entries += 1;
            let fault = (0..TRIES_MAX).find_map(|_| self.fault(at, &mut snapshot));
            if let Some(Some(fault)) = fault {
                report.bad.push(format!("index word {}: {fault}", at - self.plan.index));
            } else if fault.is_none() {
                report.busy += 1;
            }
        }
        report
    }

    /// The fault of the entry of the index word at `at`, if it has one; `None` if the word changed
    /// meanwhile.
    fn fault(&self, at: usize, out: &mut Snapshot) -> Option<Option<&'static str>> {
        let word = self.observe(at).unwrap_or(0);
        if word == 0 {
            return Some(None);
        }
        let copied = self.copy(word, out);
        if self.peek(at) != word {
            return None;
        }
        if !copied {
            return Some(Some("its record cannot be read"));
        }
        Some(self.entry_fault(word, (at - self.plan.index) / LINE, out))
    }

    /// The fault of the entry to which index word `word` of `bucket` leads.
    pub(crate) fn entry_fault(&self, word: u64, bucket: usize, entry: &Snapshot) -> Option<&'static str> {
        if !entry.intact() {
            return Some("the checksum of its record is wrong");
        }
        let Ok(name) = hither_wire::name::Name::from_wire(entry.name()) else {
            return Some("its name is not a domain name");
        };
        if name.to_lower() != name {
            return Some("its name is not in lower case");
        }
        let place = self.place(&Key::of(&name));
        if !place.buckets.contains(&bucket) || place.tag != word >> 48 {
            return Some("its name does not belong into that bucket");
        }
        None
    }
}

/// The result of [`Reader::verify`], counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// How many entries were checked.
    pub entries: usize,
    /// How many of them changed during every try.
    pub busy: usize,
    /// The faulty entries: the index word, and the fault.
    pub bad: Vec<String>,
}
