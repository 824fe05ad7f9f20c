//! Replies: an answer, composed for one client's query.
//!
//! The id, the letter case of the question, EDNS, the size and the DO, CD and RD bits are the client's.
//! The rest is from upstreams (I6). Replies are composed without an allocation, except when signatures
//! are left out of an answer for the first time.

mod local_names;

use hither_answers::Stored;
use hither_local::LocalAnswer;
use hither_table::{AnswerSource, Family, FamilyView, Monotonic, Negative, Record, Withheld};
use hither_wire::{
    codes::{Rcode, Rtype},
    compose::{Composer, Owner, flags},
    message::Section,
    query::Query,
};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

/// An answer, from which the reply to any client's query can be composed.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A family's set in a record of the table.
    Record {
        /// The record as it was published.
        record: Record,
        /// The family of the question.
        family: Family,
        /// `Some`: the set has expired, its records get this TTL in seconds (RFC 8767).
        stale_ttl_s: Option<u32>,
    },
    /// A complete answer of one upstream.
    Stored {
        /// The answer from the answer cache.
        stored: Arc<Stored>,
        /// The answer without signatures, for clients without DO. It is made when it is first needed;
        /// `None` inside means that it does not fit into a message.
        unsigned: Option<Rc<OnceCell<Option<Stored>>>>,
        /// As in `Record`: `Some` for a stale answer.
        stale_ttl_s: Option<u32>,
    },
    /// An answer for a local name.
    Local(Rc<LocalAnswer>),
    /// NODATA in place of a family that is withheld.
    Filtered {
        /// Why the family is withheld.
        why: Withheld,
    },
    /// An RCODE without records.
    Empty {
        /// The RCODE of the reply.
        rcode: Rcode,
        /// The extended error (RFC 8914), for clients that use EDNS.
        ede: Option<u16>,
    },
}

impl Answer {
    pub(crate) fn stored(stored: &Arc<Stored>) -> Answer {
        Answer::of(Arc::clone(stored), None)
    }

    /// Where the answer came from, if it is the same for a hit and for a round.
    pub(crate) fn source(&self) -> Option<AnswerSource> {
        match self {
            Answer::Record { stale_ttl_s: Some(_), .. } | Answer::Stored { stale_ttl_s: Some(_), .. } => {
                Some(AnswerSource::Stale)
            }
            Answer::Local(_) => Some(AnswerSource::Local),
            Answer::Empty { .. } => Some(AnswerSource::Failure),
            Answer::Record { .. } | Answer::Stored { .. } | Answer::Filtered { .. } => None,
        }
    }

    pub(crate) fn of(stored: Arc<Stored>, stale_ttl_s: Option<u32>) -> Answer {
        let unsigned = stored.is_signed().then(Rc::default);
        Answer::Stored { stored, unsigned, stale_ttl_s }
    }
}

/// Extended errors used here (RFC 8914 section 4).
pub mod ede {
    /// Stale Answer: RFC 8767.
    pub const STALE: u16 = 3;
    /// Stale NXDOMAIN Answer (RFC 8914, code 19).
    pub const STALE_NXDOMAIN: u16 = 19;
    /// Not Ready: no upstream is configured, or the daemon is stopping.
    pub const NOT_READY: u16 = 14;
    /// Cached Error: the failure is cached (RFC 9520).
    pub const CACHED_ERROR: u16 = 13;
    /// No Reachable Authority: no upstream responded in time.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// Network Error: upstreams responded, but with errors only.
    pub const NETWORK_ERROR: u16 = 23;
    /// Blocked: the operator of this server blocks the name.
    pub const BLOCKED: u16 = 15;
    /// Filtered: the addresses are private ones of a public name, or the operator of this server wants
    /// clients to use the other address family.
    pub const FILTERED: u16 = 17;
    /// Prohibited: the client may not use this server.
    pub const PROHIBITED: u16 = 18;
    /// Other Error, here: a limit is reached.
    pub const OTHER: u16 = 0;
}

/// The UDP payload size that we advertise to clients (RFC 9715).
const UDP_SIZE_HERE: u16 = 1232;
/// Length of an OPT record with one extended error: 11 octets, 4 of option header, 2 of code.
pub(crate) const OPT_WITH_EDE: usize = 17;
pub(crate) const OPT: usize = 11;

/// Memory for a reply, and the number of octets that the reply may have.
pub(crate) struct ReplyBuffer<'b> {
    pub limit: usize,
    pub out: &'b mut [u8],
}

/// Composes the reply to `query` in at most `limit` octets of `out`, with TC where the answer does not
/// fit. Returns its length, or 0 if `out` cannot hold even the question.
pub fn compose(now: Monotonic, query: &Query<'_>, answer: &Answer, limit: usize, out: &mut [u8]) -> usize {
    let written = match answer {
        Answer::Record { record: published, family, stale_ttl_s } => {
            let view = published.family(*family);
            view.map_or(0, |view| {
                record(now, query, &view, *stale_ttl_s, ReplyBuffer { limit, out: &mut *out })
            })
        }
        Answer::Stored { stored, unsigned, stale_ttl_s } => {
            let stored = match unsigned.as_ref().filter(|_| !query.dnssec_ok()) {
                Some(unsigned) => unsigned.get_or_init(|| stored.without_signatures()).as_ref(),
                None => Some(&**stored),
            };
            let buffer = ReplyBuffer { limit, out: &mut *out };
            stored.map_or(0, |stored| self::stored(now, query, stored, *stale_ttl_s, buffer))
        }
        Answer::Local(local) => local_names::compose(query, local, limit, out),
        Answer::Filtered { .. } => return filtered(query, ReplyBuffer { limit, out }),
        Answer::Empty { rcode, ede } => return failure(query, *rcode, *ede, limit, out),
    };
    if written == 0 { failure(query, Rcode::SERVFAIL, None, limit, out) } else { written }
}

fn reply_flags(query: &Query<'_>, rcode: Rcode) -> u16 {
    let kept = query.flags() & (flags::RD | flags::CD);
    flags::QR | flags::RA | kept | u16::from(rcode.0)
}

/// Begins a reply: header, question, and space reserved for OPT.
pub(crate) fn open<'b>(
    query: &Query<'_>,
    rcode: Rcode,
    reserve: usize,
    limit: usize,
    out: &'b mut [u8],
) -> Option<Composer<'b>> {
    let mut composer = Composer::new(out, limit)?;
    composer.set_header(query.id(), reply_flags(query, rcode));
    if !composer.question_octets(query.question()) {
        return None;
    }
    if query.edns().is_some() && !composer.reserve(reserve) {
        return None;
    }
    Some(composer)
}

pub(crate) fn close(mut composer: Composer<'_>, query: &Query<'_>, ede: Option<u16>) -> usize {
    if query.edns().is_some() {
        let mut option = [0, 15, 0, 2, 0, 0];
        let options = match ede {
            Some(code) => {
                option[4..].copy_from_slice(&code.to_be_bytes());
                &option[..]
            }
            None => &[],
        };
        composer.opt(UDP_SIZE_HERE, 0, query.dnssec_ok(), options);
    }
    composer.finish()
}

/// Composes a reply without records.
pub fn failure(query: &Query<'_>, rcode: Rcode, ede: Option<u16>, limit: usize, out: &mut [u8]) -> usize {
    let reserve = if ede.is_some() { OPT_WITH_EDE } else { OPT };
    open(query, rcode, reserve, limit, out).map_or(0, |composer| close(composer, query, ede))
}

/// Composes the reply to a query for a family that is withheld: NODATA, without an SOA record.
pub(crate) fn filtered(query: &Query<'_>, buffer: ReplyBuffer<'_>) -> usize {
    failure(query, Rcode::NOERROR, Some(ede::FILTERED), buffer.limit, buffer.out)
}

/// Composes a reply from a record of the table: the chain of the best address, and that chain's
/// addresses in order.
pub(crate) fn record(
    now: Monotonic,
    query: &Query<'_>,
    view: &FamilyView<'_>,
    stale_ttl_s: Option<u32>,
    buffer: ReplyBuffer<'_>,
) -> usize {
    let negative = view.negative();
    let rcode = if negative == Some(Negative::NxDomain) { Rcode::NXDOMAIN } else { Rcode::NOERROR };
    let stale = stale_ttl_s.map(|_| if rcode == Rcode::NXDOMAIN { ede::STALE_NXDOMAIN } else { ede::STALE });
    let ede = if negative == Some(Negative::Withheld) { Some(ede::FILTERED) } else { stale };
    let reserve = if ede.is_some() { OPT_WITH_EDE } else { OPT };
    let Some(mut composer) = open(query, rcode, reserve, buffer.limit, buffer.out) else { return 0 };
    let ttl_s = |expire_ms: u64| stale_ttl_s.unwrap_or_else(|| remaining_s(now, expire_ms));
    if !records(&mut composer, view, query.qtype(), ttl_s, usize::MAX)
        && !without_lone_ones(&mut composer, view, query.qtype(), ttl_s)
    {
        composer.truncate_to_question();
    }
    close(composer, query, ede)
}

/// Writes the records again without extra addresses, where not all fit. `false`: they do not fit
/// either, and the reply is truncated.
fn without_lone_ones(
    composer: &mut Composer<'_>,
    view: &FamilyView<'_>,
    rtype: Rtype,
    ttl_s: impl Fn(u64) -> u32,
) -> bool {
    let chain = view.addresses().next().map_or(0, |first| first.chain);
    let trusted = view.trusted().filter(|address| address.chain == chain).count();
    composer.back_to_question();
    trusted > 0 && records(composer, view, rtype, ttl_s, trusted)
}

fn remaining_s(now: Monotonic, expire_ms: u64) -> u32 {
    u32::try_from(expire_ms.saturating_sub(now.as_ms()) / 1000).unwrap_or(u32::MAX)
}

/// Writes the chain, at most `most` addresses, and the SOA record. `false`: they do not fit.
fn records(
    composer: &mut Composer<'_>,
    view: &FamilyView<'_>,
    rtype: Rtype,
    ttl_s: impl Fn(u64) -> u32,
    most: usize,
) -> bool {
    let (mut chain, mut owner) = (0, 12);
    if !view.is_plain() {
        chain = view.addresses().next().map_or(0, |first| first.chain);
        for (target, expire_ms) in view.chain(chain) {
            if !composer.record(Section::Answer, Owner::At(owner), Rtype::CNAME, ttl_s(expire_ms), target) {
                return false;
            }
            owner = composer.position() - target.len();
        }
    }
    let ttl = ttl_s(view.expire_ms());
    let fits = match rtype {
        Rtype::A => composer.answers(owner, rtype, ttl, view.v4(chain).take(most)),
        _ => composer.answers(owner, rtype, ttl, view.v6(chain).take(most)),
    };
    if !fits {
        return false;
    }
    match view.negative().and_then(|_| view.soa()) {
        Some((owner, expire_ms, rdata)) => composer.record(
            Section::Authority,
            Owner::Wire(owner),
            Rtype::SOA,
            ttl_s(expire_ms.min(view.expire_ms())),
            rdata,
        ),
        None => true,
    }
}

/// Composes a reply from a stored answer, with TTLs counted down.
pub(crate) fn stored(
    now: Monotonic,
    query: &Query<'_>,
    stored: &Stored,
    stale_ttl_s: Option<u32>,
    buffer: ReplyBuffer<'_>,
) -> usize {
    if stored.question_len() != query.question().len() {
        return 0;
    }
    let blocked = stored.is_withheld().then_some(ede::FILTERED);
    let ede = blocked.or(stale_ttl_s.map(|_| ede::STALE));
    let reserve = if ede.is_some() { OPT_WITH_EDE } else { OPT };
    let Some(mut composer) = open(query, stored.rcode(), reserve, buffer.limit, buffer.out) else { return 0 };
    let at = composer.position();
    let fits = composer.body(stored.body(), stored.counts());
    if fits {
        for (offset, ttl) in stored.ttls(now) {
            composer.patch_u32(at + offset, stale_ttl_s.unwrap_or(ttl));
        }
    } else {
        composer.truncate_to_question();
    }
    close(composer, query, ede)
}
