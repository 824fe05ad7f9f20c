//! Address hints of HTTPS and SVCB answers (RFC 9460 section 7.3), put in the order of the table.
//!
//! This is done when an answer is stored, and when an order of its name arrives, so that replies from
//! the cache cost nothing more. Hints are only moved within their list: none is added or removed, and all
//! other octets stay as the upstream wrote them. Answers for DO or CD, and signed ones, are not touched.

use crate::question::Question;
use crate::resolver::Rounds;
use crate::shared::Shared;
use hither_answers::Stored;
use hither_table::{Family, Key, Monotonic, Snapshot};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use hither_wire::svcb::{Svcb, order_hints};
use std::net::IpAddr;
use std::sync::Arc;

/// Records of one answer whose hints are put in order. A service has a few.
const RECORDS_MAX: usize = 16;

impl Shared {
    /// The answer with its hints in the order of the table.
    pub(crate) fn with_hints_in_order(&mut self, question: &Question, stored: Arc<Stored>) -> Arc<Stored> {
        self.hints_in_order(question, &stored).map_or(stored, Arc::new)
    }

    /// The answer with other hints first; `None` if there is nothing to move.
    fn hints_in_order(&mut self, question: &Question, stored: &Stored) -> Option<Stored> {
        let has_hints = matches!(question.rtype, Rtype::HTTPS | Rtype::SVCB);
        let is_validated = question.dnssec_ok || question.checking_disabled || stored.is_signed();
        if !has_hints || is_validated || stored.is_denial() {
            return None;
        }
        let Shared { writer, scratch, now, .. } = self;
        let mut left = RECORDS_MAX;
        stored.with_rdata(question.rtype, |owner, rdata| {
            let Some(target) = target_of(owner, rdata) else { return false };
            let Some(fewer) = left.checked_sub(1) else { return false };
            left = fewer;
            // The end of a chain of CNAMEs has the addresses that the table has under the first name.
            let alias = (target == owner.to_lower()).then_some(question.name);
            let names = [Some(target), alias.filter(|name| *name != target)];
            names
                .into_iter()
                .flatten()
                .any(|name| writer.get(&Key::of(&name), scratch) && put_in_order(rdata, scratch, *now))
        })
    }
}

/// The name whose addresses the hints of a record are, in lower case; `None` if it has no two hints.
fn target_of(owner: &Name, rdata: &[u8]) -> Option<Name> {
    let svcb = Svcb::read(rdata).filter(Svcb::has_choice)?;
    let target = Name::from_wire(svcb.target).ok()?;
    Some(if target.is_root() { owner.to_lower() } else { target.to_lower() })
}

/// Puts hints in the order of an entry's sets, of those that are fresh and measured. Returns whether one
/// moves.
fn put_in_order(rdata: &mut [u8], entry: &Snapshot, now: Monotonic) -> bool {
    let sorted = |family| {
        let set = entry.family(family).filter(|set| set.sorted() && !set.expired(now));
        set.into_iter().flat_map(|set| set.addresses()).map(|own| own.address)
    };
    let v4 =
        sorted(Family::A).filter_map(|own| if let IpAddr::V4(v4) = own { Some(v4.octets()) } else { None });
    let v6 = sorted(Family::Aaaa)
        .filter_map(|own| if let IpAddr::V6(v6) = own { Some(v6.octets()) } else { None });
    order_hints(rdata, v4, v6)
}

impl Rounds {
    /// Puts the hints of a name's stored HTTPS answer in the order of the table, which has changed.
    pub(crate) fn reorder_hints(&mut self, name: &Name) {
        let question =
            Question { name: *name, rtype: Rtype::HTTPS, dnssec_ok: false, checking_disabled: false };
        if let Some(stored) = self.shared.answers.get(&question.asked())
            && let Some(moved) = self.shared.hints_in_order(&question, &stored)
        {
            self.shared.answers.replace(&question.asked(), Arc::new(moved));
        }
    }
}
