//! Weak answers: denials, sinkholes, withheld addresses, and CNAMEs whose target is unknown. They are
//! not accepted at once.

use crate::address_set::Contribution;
use crate::complete_answer::ChainSoFar;
use crate::ids::UpstreamId;
use hither_answers::Stored;
use hither_table::{Link, Monotonic, Negative, SoaRecord};
use std::sync::Arc;

/// A weak answer that waits for a second upstream.
#[derive(Debug)]
pub(crate) struct Held {
    /// When it is accepted alone.
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
    /// Sinkholes only: any other address wins against them.
    Sinkhole(Contribution),
    /// A denial that is stored complete.
    CompleteDenial {
        kind: Negative,
        stored: Arc<Stored>,
    },
    /// Withheld addresses only, and until when that is remembered.
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
    /// When it is chased although attempts are outstanding.
    pub until: Monotonic,
    /// The upstream that gave it: the first to be asked for the target, since its answer fits.
    pub from: UpstreamId,
    pub links: Vec<Link>,
    /// The records of its CNAMEs.
    pub before: ChainSoFar,
}
