//! The octets of a query: composed with the letter case (0x20) and the features that `attempt::send`
//! chose.

use crate::attempt::Plan;
use crate::faults::Faults;
use crate::settings::UDP_SIZE_UPSTREAM;
use crate::upstream::cookie::OPTION_MAX;
use hither_wire::codes::Class;
use hither_wire::compose::{Composer, flags};
use hither_wire::edns::PADDING;
use hither_wire::header::HEADER_LEN;
use hither_wire::name::Name;
use std::rc::Rc;

/// Gives each letter of a name in wire form a random case: more bits that a forger has to guess
/// (draft-vixie-dnsext-dns0x20). Length octets are below 64, so they are no letters.
pub(crate) fn mix(name: &mut [u8], random: &mut dyn FnMut() -> u64) {
    for octets in name.chunks_mut(64) {
        let mut bits = random();
        let (words, rest) = octets.as_chunks_mut();
        for word in words {
            *word = mixed(u64::from_le_bytes(*word), bits as u8).to_le_bytes();
            bits >>= 8;
        }
        for octet in rest {
            *octet = mixed(u64::from(*octet), bits as u8 & 1) as u8;
            bits >>= 1;
        }
    }
}

/// Puts eight octets into upper case, except the letters whose bit is set.
fn mixed(word: u64, bits: u8) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let low = word & (0x5f * ONES);
    // In `from_a` the highest bit of an octet is set from 'A' on, in `past_z` beyond 'Z'. Sums stay
    // within their octets.
    let (from_a, past_z) = (low + (0x80 - b'A' as u64) * ONES, low + (0x7f - b'Z' as u64) * ONES);
    let letters = (from_a ^ past_z) & !word & (0x80 * ONES);
    // Keeps bit n in octet n; the addition then carries any set bit to the highest one.
    let own = (u64::from(bits) * ONES) & 0x8040_2010_0804_0201;
    let lower = (own | ((own & (0x7f * ONES)) + 0x7f * ONES)) & (0x80 * ONES);
    word & !(letters >> 2) | (letters & lower) >> 2
}

/// The longest query: header, name, OPT with the longest cookie.
pub(crate) const QUERY_MAX: usize = HEADER_LEN + 255 + 4 + OPT_LEN + OPTION_MAX;

/// Writes the query and returns its length. `cookie`: the option for EDNS, `None` without EDNS.
pub(crate) fn query(id: u16, plan: &Plan<'_>, cookie: Option<&[u8]>, out: &mut [u8; QUERY_MAX]) -> usize {
    write(id, plan, cookie, out)
}

/// Writes a query, with an OPT record if `option` is given, and returns its length.
#[inline(always)]
fn write<const MAX: usize>(id: u16, plan: &Plan<'_>, option: Option<&[u8]>, out: &mut [u8; MAX]) -> usize {
    let question = plan.question;
    let cd = if question.checking_disabled { flags::CD } else { 0 };
    let Some(mut composer) = Composer::new(out, MAX) else { return 0 };
    composer.set_header(id, flags::RD | cd);
    composer.question(plan.target.name(), question.rtype, Class::IN);
    if let Some(option) = option {
        composer.opt(UDP_SIZE_UPSTREAM, 0, question.dnssec_ok, option);
    }
    composer.finish()
}

/// The size to a multiple of which queries are padded (RFC 8467 section 4.1).
const PADDED_TO: usize = 128;

/// The longest padded query. Its name is 255 octets.
const PADDED_MAX: usize = (HEADER_LEN + 255 + 4 + OPT_LEN + 4).next_multiple_of(PADDED_TO);

/// A query for an encrypted transport, in the letter case of the question. It has an OPT record whose only
/// option is a padding of zeros (RFC 7830), so that an observer learns little from its length.
pub(crate) fn padded(id: u16, plan: &Plan<'_>, faults: Faults) -> Rc<[u8]> {
    let mut option = [0; 4 + PADDED_TO];
    let bare = question_end(plan.target.name()) + OPT_LEN + 4;
    let length = if faults.may_leave_out_padding() { 0 } else { bare.next_multiple_of(PADDED_TO) - bare };
    option[..2].copy_from_slice(&PADDING.to_be_bytes());
    option[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    let mut out = [0; PADDED_MAX];
    let len = write(id, plan, Some(&option[..4 + length]), &mut out);
    Rc::from(&out[..len])
}

/// One of our queries with an OPT record without options.
pub(crate) fn without_cookie(octets: &[u8], name: &Name) -> Rc<[u8]> {
    let end = question_end(name) + OPT_LEN;
    let mut octets = octets.get(..end).unwrap_or(octets).to_vec();
    if let Some(length) = octets.get_mut(end - 2..end) {
        length.fill(0);
    }
    octets.into()
}

/// Length of an OPT record without options.
const OPT_LEN: usize = 11;

fn question_end(name: &Name) -> usize {
    HEADER_LEN + name.as_wire().len() + 4
}

/// One of our queries without its only additional record, OPT.
pub(crate) fn without_edns(octets: &[u8], name: &Name) -> Rc<[u8]> {
    let end = question_end(name);
    let mut octets = octets.get(..end).unwrap_or(octets).to_vec();
    if let Some(count) = octets.get_mut(10..HEADER_LEN) {
        count.fill(0);
    }
    octets.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_octets_at_once_are_mixed_like_single_octets() {
        for octet in 0..=255_u8 {
            for bits in 0..=255_u8 {
                let others = [octet, b'a', octet, b'Z', octet, octet ^ 0x20, b'-', octet];
                let mut one_by_one = others;
                for (n, octet) in one_by_one.iter_mut().enumerate().filter(|(_, o)| o.is_ascii_alphabetic()) {
                    *octet = *octet & !0x20 | (bits >> n & 1) << 5;
                }
                assert_eq!(mixed(u64::from_le_bytes(others), bits).to_le_bytes(), one_by_one);
            }
        }
    }

    #[test]
    fn queries_of_every_length_are_padded_to_a_multiple_of_128_octets() {
        use crate::attempt::{QueryMode, Target};
        use crate::{Question, Transport, UpstreamId};
        let mut sizes = std::collections::BTreeSet::new();
        for length in 1..=253_usize {
            let labels = "a".repeat(length).into_bytes();
            let labels = labels.chunks(50).map(|label| String::from_utf8_lossy(label).into_owned());
            let Ok(name) = labels.collect::<Vec<_>>().join(".").parse::<Name>() else { continue };
            let question = Question {
                name,
                rtype: hither_wire::codes::Rtype::A,
                dnssec_ok: true,
                checking_disabled: true,
            };
            let target = Target::of(Rc::new(question));
            let mode = QueryMode::to(UpstreamId(0), Transport::Tls);
            let plan = Plan { round: 1, question: &question, target: &target, mode, trace: 0 };
            let octets = padded(7, &plan, Faults::default());
            let read = hither_wire::query::Query::read(&octets).expect("a query");
            assert_eq!((read.id(), read.qname(), read.dnssec_ok()), (7, name.as_wire(), true));
            assert_eq!(octets.len() % 128, 0, "{length}");
            assert!(octets.len() < question_end(&name) + OPT_LEN + 4 + 128, "no more than needed");
            assert!(hither_wire::message::Message::read(&octets).is_ok());
            sizes.insert(octets.len());
        }
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [128, 256, 384]);
    }

    #[test]
    fn only_the_case_of_letters_is_mixed() {
        let name: Name = "a-1.Example.test".parse().expect("a name");
        let mut n = 0xdead_beef_u64;
        let mut draw = || {
            n = n.rotate_left(7) ^ 0x1234_5678;
            n
        };
        let mut mixed = || {
            let mut octets = name.as_wire().to_vec();
            mix(&mut octets, &mut draw);
            Name::from_wire(&octets).expect("a name")
        };
        let all: Vec<Name> = (0..32).map(|_| mixed()).collect();
        assert!(all.iter().all(|mixed| mixed.eq_ignore_case(&name)));
        assert!(all.iter().filter(|mixed| **mixed != all[0]).count() > 16);
    }
}
