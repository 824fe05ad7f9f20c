//! The octets of a query: composed with the letter case (0x20) and the features that `attempt::send`
//! chose.

use crate::attempt::Plan;
use crate::settings::UDP_SIZE_UPSTREAM;
use crate::upstream::cookie::OPTION_MAX;
use hither_wire::codes::Class;
use hither_wire::compose::{Composer, flags};
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
    let question = plan.question;
    let cd = if question.checking_disabled { flags::CD } else { 0 };
    let Some(mut composer) = Composer::new(out, QUERY_MAX) else { return 0 };
    composer.set_header(id, flags::RD | cd);
    composer.question(plan.target.name(), question.rtype, Class::IN);
    if let Some(cookie) = cookie {
        composer.opt(UDP_SIZE_UPSTREAM, 0, question.dnssec_ok, cookie);
    }
    composer.finish()
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
