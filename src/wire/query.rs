//! Reading a client's query in one pass, and the replies without data: errors and refusals
//! (RFC 8906).

use crate::codes::{Class, Opcode, Rcode, Rtype};
use crate::compose::Composer;
use crate::edns::Edns;
use crate::header::{HEADER_LEN, Header, flags};
use crate::name::{Name, uncompressed_len};
use crate::{u16_at, u32_at};

/// The largest UDP payload sent to clients, in octets. It fits every path without fragments (RFC
/// 9715).
pub const UDP_SIZE_MAX: u16 = 1232;
/// The extended response code BADVERS (RFC 6891, section 6.1.3).
pub const BADVERS: u16 = 16;

/// A query that can be answered: opcode QUERY, one question of class IN, at most one OPT of version
/// 0.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    octets: &'a [u8],
    header: Header,
    question_end: usize,
    edns: Option<Edns<'a>>,
}

/// Why a query is not answered with data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// No reply: the message is a response, so that a reply could start a loop, or it is shorter than
    /// a header.
    Silent,
    /// A reply with this response code and no records.
    Reply {
        /// The response code, with its extension; 16 is BADVERS.
        rcode: u16,
        /// Whether the message is malformed. Otherwise the query asks for a service that hither does
        /// not have.
        malformed: bool,
    },
}

impl<'a> Query<'a> {
    /// Reads a query. Octets after its last record are ignored, as in Unbound and BIND.
    ///
    /// # Errors
    /// A [`Refusal`]: FORMERR if it is malformed or does not have exactly one question (RFC 9619),
    /// NOTIMP for other opcodes, REFUSED for other classes and for zone transfers, BADVERS for EDNS
    /// versions above 0.
    pub fn read(octets: &'a [u8]) -> Result<Query<'a>, Refusal> {
        let header = Header::parse(octets).filter(|h| !h.qr()).ok_or(Refusal::Silent)?;
        if header.opcode() != Opcode::QUERY {
            return Err(refuse_with(Rcode::NOTIMP));
        }
        if header.qdcount != 1 || header.ancount != 0 || header.nscount != 0 {
            // Of opcode QUERY only IXFR has a record there: an SOA record in the authority section.
            let ixfr = header.qdcount == 1 && qtype_of(octets) == Some(Rtype::IXFR);
            return Err(if ixfr { refuse_with(Rcode::REFUSED) } else { MALFORMED });
        }
        let name_len = uncompressed_len(octets, HEADER_LEN).map_err(|_| MALFORMED)?;
        let question_end = HEADER_LEN + name_len + 4;
        if octets.len() < question_end {
            return Err(MALFORMED);
        }
        let edns = match header.arcount {
            0 => None,
            1 if octets.get(question_end..question_end + 3) == Some(&[0, 0, 41]) => {
                Some(opt(octets, question_end)?.0)
            }
            _ => additional(octets, question_end, header.arcount)?,
        };
        let query = Query { octets, header, question_end, edns };
        if edns.is_some_and(|edns| edns.version > 0) {
            return Err(Refusal::Reply { rcode: BADVERS, malformed: false });
        }
        if query.qclass() != Class::IN {
            return Err(refuse_with(Rcode::REFUSED));
        }
        match query.qtype() {
            Rtype::AXFR
            | Rtype::IXFR
            | Rtype::TKEY
            | Rtype::TSIG
            | Rtype::OPT
            | Rtype::MAILA
            | Rtype::MAILB
            | Rtype(0) => Err(refuse_with(Rcode::REFUSED)),
            _ => Ok(query),
        }
    }

    /// The id that the client chose.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.header.id
    }

    /// The flags of the header, 16 bits.
    #[must_use]
    pub fn flags(&self) -> u16 {
        self.header.flags
    }

    /// Whether RD is set: the client wants recursion.
    #[must_use]
    pub fn rd(&self) -> bool {
        self.header.flags & flags::RD != 0
    }

    /// Whether CD is set: the client validates signatures itself.
    #[must_use]
    pub fn cd(&self) -> bool {
        self.header.flags & flags::CD != 0
    }

    /// QNAME as it was sent, in uncompressed wire form.
    #[must_use]
    pub fn qname(&self) -> &'a [u8] {
        self.octets.get(HEADER_LEN..self.question_end - 4).unwrap_or_default()
    }

    /// QNAME in lower case.
    #[must_use]
    pub fn name_lower(&self) -> Name {
        Name::lower_of(self.qname())
    }

    /// The type that the question asks for.
    #[must_use]
    pub fn qtype(&self) -> Rtype {
        Rtype(u16_at(self.octets, self.question_end - 4).unwrap_or(0))
    }

    /// The class that the question asks for.
    #[must_use]
    pub fn qclass(&self) -> Class {
        Class(u16_at(self.octets, self.question_end - 2).unwrap_or(0))
    }

    /// The octets of the question, which the reply repeats exactly.
    #[must_use]
    pub fn question(&self) -> &'a [u8] {
        self.octets.get(HEADER_LEN..self.question_end).unwrap_or_default()
    }

    /// The contents of the OPT record, if there is one.
    #[must_use]
    pub fn edns(&self) -> Option<Edns<'a>> {
        self.edns
    }

    /// Whether DO is set: the client wants DNSSEC records.
    #[must_use]
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The size of the largest UDP reply in octets: 512 without OPT, else the size that the client
    /// accepts, at most [`UDP_SIZE_MAX`].
    #[must_use]
    pub fn udp_limit(&self) -> usize {
        self.edns.map_or(512, |edns| usize::from(edns.udp_size.min(UDP_SIZE_MAX)))
    }
}

impl Query<'_> {
    /// Writes the query without the parts that do not affect its reply: options, and records other
    /// than OPT. Returns its length, at most 282 octets; 0 if `out` is too small.
    pub fn write_without_options(&self, out: &mut [u8]) -> usize {
        let Some(mut composer) = Composer::new(out, usize::from(u16::MAX)) else { return 0 };
        composer.set_header(self.header.id, self.header.flags);
        let fits = composer.question_octets(self.question())
            && self.edns.is_none_or(|edns| composer.opt(edns.udp_size, 0, edns.dnssec_ok, &[]));
        if fits { composer.finish() } else { 0 }
    }
}

/// Truncates a reply after its question and sets TC. Returns the new length; 0 if the reply has no
/// question.
pub fn cut_to_question(reply: &mut [u8]) -> usize {
    let Ok(len) = uncompressed_len(reply, HEADER_LEN) else { return 0 };
    let end = HEADER_LEN + len + 4;
    if end > reply.len() {
        return 0;
    }
    if let Some(counts) = reply.get_mut(6..HEADER_LEN) {
        counts.fill(0);
    }
    if let Some(high) = reply.get_mut(2) {
        *high |= (flags::TC >> 8) as u8;
    }
    end
}

const MALFORMED: Refusal = Refusal::Reply { rcode: Rcode::FORMERR.0 as u16, malformed: true };

fn refuse_with(rcode: Rcode) -> Refusal {
    Refusal::Reply { rcode: u16::from(rcode.0), malformed: false }
}

fn qtype_of(octets: &[u8]) -> Option<Rtype> {
    let len = uncompressed_len(octets, HEADER_LEN).ok()?;
    u16_at(octets, HEADER_LEN + len).map(Rtype)
}

/// The OPT record at `at`, whose owner name is the root, and the offset after it.
fn opt(octets: &[u8], at: usize) -> Result<(Edns<'_>, usize), Refusal> {
    let read = || {
        let (class, ttl) = (u16_at(octets, at + 3)?, u32_at(octets, at + 5)?);
        let end = at + 11 + usize::from(u16_at(octets, at + 9)?);
        Some((Edns::new(class, ttl, octets.get(at + 11..end)?)?, end))
    };
    read().ok_or(MALFORMED)
}

/// Reads the additional section and returns its OPT record. Other records are ignored, including
/// TSIG, since hither has no keys.
fn additional(octets: &[u8], mut at: usize, count: u16) -> Result<Option<Edns<'_>>, Refusal> {
    let mut edns = None;
    for _ in 0..count {
        let (owner, next) = Name::read(octets, at).map_err(|_| MALFORMED)?;
        let rtype = u16_at(octets, next).map(Rtype).ok_or(MALFORMED)?;
        let end = next + 10 + usize::from(u16_at(octets, next + 8).ok_or(MALFORMED)?);
        if end > octets.len() {
            return Err(MALFORMED);
        }
        if rtype == Rtype::OPT {
            if edns.is_some() || !owner.is_root() || next != at + 1 {
                return Err(MALFORMED);
            }
            edns = Some(opt(octets, at)?.0);
        }
        at = end;
    }
    Ok(edns)
}

/// Writes the reply to a refused query: id, opcode, RD and CD of the query, its question unless the
/// query is malformed, and OPT if the query has one. Returns the length; 0 if `out` is too small.
pub fn refuse(query: &[u8], rcode: u16, out: &mut [u8]) -> usize {
    let Some(header) = Header::parse(query) else { return 0 };
    let Some(mut composer) = Composer::new(out, 512) else { return 0 };
    let kept = header.flags & (0x7800 | flags::RD | flags::CD);
    composer.set_header(header.id, flags::QR | flags::RA | kept | (rcode & 15));
    // Octets of a malformed query are not sent back.
    let is_malformed = rcode == u16::from(Rcode::FORMERR.0);
    if !is_malformed
        && header.qdcount == 1
        && let Ok(len) = uncompressed_len(query, HEADER_LEN)
        && let Some(question) = query.get(HEADER_LEN..HEADER_LEN + len + 4)
    {
        composer.question_octets(question);
        let edns = additional(query, HEADER_LEN + len + 4, header.arcount);
        if header.ancount == 0
            && header.nscount == 0
            && let Ok(Some(edns)) = edns
        {
            composer.opt(UDP_SIZE_MAX, (rcode >> 4) as u8, edns.dnssec_ok, &[]);
        }
    }
    composer.finish()
}
