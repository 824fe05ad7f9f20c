//! Weak answers: denials, sinkholes, withheld addresses, and dangling CNAMEs, whose target is unknown.
//! They are not accepted at once.

use crate::address_set::Contribution;
use crate::complete_answer::ChainSoFar;
use crate::ids::UpstreamId;
use hither_answers::Stored;
use hither_table::{Link, Monotonic, Negative, SoaRecord};
use std::sync::Arc;

/// A weak answer that waits for a second upstream.
#[derive(Debug)]
pub(crate) struct Held {
    /// When the weak answer is accepted without a second one.
    pub until: Monotonic,
    pub weak: WeakAnswer,
}

#[derive(Debug)]
pub(crate) enum WeakAnswer {
    Denial {
        kind: Negative,
        chain: Vec<Link>,
        soa: Option<Box<SoaRecord>>,
        expire_ms: u64,
    },
    /// Sinkholes only; any other address replaces them.
    Sinkhole(Contribution),
    /// A denial as a complete answer.
    CompleteDenial {
        kind: Negative,
        stored: Arc<Stored>,
    },
    /// Withheld addresses only; the withholding is cached until `until`.
    Withheld {
        until: Monotonic,
    },
}

impl WeakAnswer {
    pub fn agrees(&self, other: &WeakAnswer) -> bool {
        match (self, other) {
            (WeakAnswer::Denial { kind: a, .. }, WeakAnswer::Denial { kind: b, .. }) => a == b,
            (WeakAnswer::Sinkhole(_), WeakAnswer::Sinkhole(_)) => true,
            (WeakAnswer::CompleteDenial { kind: a, .. }, WeakAnswer::CompleteDenial { kind: b, .. }) => {
                a == b
            }
            (WeakAnswer::Withheld { .. }, WeakAnswer::Withheld { .. }) => true,
            (
                WeakAnswer::Denial { .. }
                | WeakAnswer::Sinkhole(_)
                | WeakAnswer::CompleteDenial { .. }
                | WeakAnswer::Withheld { .. },
                _,
            ) => false,
        }
    }
}

/// A CNAME whose target no upstream has looked up.
#[derive(Debug)]
pub(crate) struct DanglingCname {
    /// When the target is chased although attempts are outstanding.
    pub until: Monotonic,
    /// The upstream that gave the CNAME. It is queried for the target first, since its answers fit
    /// together.
    pub from: UpstreamId,
    pub links: Vec<Link>,
    /// The records of the CNAMEs, for a complete answer.
    pub before: ChainSoFar,
}
