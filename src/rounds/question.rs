//! The question a round answers.

use hither_answers::Asked;
use hither_table::Family;
use hither_wire::{codes::Rtype, name::Name, query::Query};

/// QNAME in lower case, QTYPE, DO and CD; the class is IN, others are refused before they get here.
///
/// DO and CD are part of it because they change what an upstream says (RFC 4035 section 3.2.1). So a name and type have three rounds at the most at a
/// time, and two while signatures stand: without DO, with it, and with both where that fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// QNAME in lower case (RFC 4343).
    pub name: Name,
    /// QTYPE.
    pub rtype: Rtype,
    /// The client asked for DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The client checks signatures itself (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
}

impl Question {
    /// What a client asks.
    #[must_use]
    pub fn of(query: &Query<'_>) -> Question {
        Question {
            name: query.name_lower(),
            rtype: query.qtype(),
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.cd(),
        }
    }

    /// As its upstreams are asked first for whoever wants DNSSEC records or checks signatures itself: with DO, and with signatures checked there. What
    /// stands that is right for who checks again, too.
    pub(crate) fn checked(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: false, ..*self }
    }

    /// The same for who checks signatures itself, when nobody has an answer that stands.
    pub(crate) fn unchecked(&self) -> Question {
        Question { dnssec_ok: true, checking_disabled: true, ..*self }
    }

    /// As the answer cache looks it up.
    #[must_use]
    pub fn asked(&self) -> Asked<'_> {
        let dnssec = (self.dnssec_ok, self.checking_disabled);
        Asked { name: self.name.as_wire(), rtype: self.rtype, dnssec }
    }

    /// The family whose addresses the table keeps for this question, or `None` when its answers are kept apart.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        family_of(self.rtype, self.dnssec_ok || self.checking_disabled)
    }
}

pub(crate) fn family_of(rtype: Rtype, dnssec: bool) -> Option<Family> {
    match rtype {
        Rtype::A if !dnssec => Some(Family::A),
        Rtype::AAAA if !dnssec => Some(Family::Aaaa),
        _ => None,
    }
}
