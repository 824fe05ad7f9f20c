//! The data of SVCB and HTTPS records (RFC 9460): read strictly, and their address hints put in another
//! order.

use crate::name::NAME_MAX;
use crate::u16_at;
use core::ops::Range;

/// SvcParamKeys (RFC 9460, section 14.3.2) whose values have a form that is checked here.
mod key {
    pub const MANDATORY: u16 = 0;
    pub const ALPN: u16 = 1;
    pub const NO_DEFAULT_ALPN: u16 = 2;
    pub const PORT: u16 = 3;
    pub const IPV4HINT: u16 = 4;
    pub const IPV6HINT: u16 = 6;
}

/// Hints of one list that are put in order. A longer list stays as it is: no client tries so many.
pub const HINTS_MAX: usize = 255;

/// The RDATA of an SVCB or HTTPS record.
#[derive(Clone, Copy, Debug)]
pub struct Svcb<'a> {
    /// SvcPriority; 0 means AliasMode, in which parameters mean nothing (section 2.4.2).
    pub priority: u16,
    /// TargetName in uncompressed wire form. The root stands for the owner of the record, or in AliasMode
    /// for no service (section 2.5).
    pub target: &'a [u8],
    params: &'a [u8],
}

/// A service parameter: a key and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Param<'a> {
    /// The SvcParamKey, a number of IANA's registry.
    pub key: u16,
    /// The SvcParamValue in wire form.
    pub value: &'a [u8],
}

impl<'a> Svcb<'a> {
    /// Reads RDATA. `None` if it is malformed: its names, lengths, the order of its keys (section 2.2),
    /// or a value of a key that is known here (sections 7 and 8).
    #[must_use]
    pub fn read(rdata: &'a [u8]) -> Option<Svcb<'a>> {
        let priority = u16_at(rdata, 0)?;
        let rest = rdata.get(2..)?;
        let end = name_end(rest)?;
        let (target, params) = rest.split_at_checked(end)?;
        let svcb = Svcb { priority, target, params };
        svcb.is_sound().then_some(svcb)
    }

    /// The parameters, in ascending order of their keys.
    pub fn params(&self) -> impl Iterator<Item = Param<'a>> + Clone + use<'a> {
        let mut rest = self.params;
        core::iter::from_fn(move || {
            let (param, after) = first_param(rest)?;
            rest = after;
            Some(param)
        })
    }

    fn value(&self, key: u16) -> Option<&'a [u8]> {
        self.params().find(|param| param.key == key).map(|param| param.value)
    }

    fn is_sound(&self) -> bool {
        let (mut rest, mut last) = (self.params, None);
        while !rest.is_empty() {
            let Some((param, after)) = first_param(rest) else { return false };
            if last.is_some_and(|last| param.key <= last) || !self.has_form(param) {
                return false;
            }
            (last, rest) = (Some(param.key), after);
        }
        true
    }

    /// Whether the value of a parameter has the form of its key.
    fn has_form(&self, Param { key, value }: Param<'_>) -> bool {
        match key {
            key::MANDATORY => self.are_mandatory(value),
            key::ALPN => is_alpn(value),
            key::NO_DEFAULT_ALPN => value.is_empty(),
            key::PORT => value.len() == 2,
            key::IPV4HINT => !value.is_empty() && value.len().is_multiple_of(4),
            key::IPV6HINT => !value.is_empty() && value.len().is_multiple_of(16),
            _ => true,
        }
    }

    /// Whether a value is a list of mandatory keys: in ascending order, all of them there, and without
    /// the key "mandatory" itself (section 8).
    fn are_mandatory(&self, value: &[u8]) -> bool {
        let (pairs, rest) = value.as_chunks::<2>();
        let keys = || pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        let is_ascending = keys().zip(keys().skip(1)).all(|(one, next)| one < next);
        let are_there = || {
            let mut have = self.params();
            keys().all(|key| key != key::MANDATORY && have.any(|param| param.key == key))
        };
        !pairs.is_empty() && rest.is_empty() && is_ascending && are_there()
    }

    /// Whether a list has at least two hints, so that there is something to put in order.
    #[must_use]
    pub fn has_choice(&self) -> bool {
        let octets = |key| self.value(key).map_or(0, <[u8]>::len);
        self.priority != 0 && (octets(key::IPV4HINT) > 4 || octets(key::IPV6HINT) > 16)
    }

    /// The place of a value in the RDATA.
    fn place(&self, rdata: &[u8], key: u16) -> Range<usize> {
        let mut at = rdata.len() - self.params.len();
        for param in self.params() {
            let end = at + 4 + param.value.len();
            if param.key == key {
                return at + 4..end;
            }
            at = end;
        }
        0..0
    }
}

/// Moves the address hints of RDATA that `v4` and `v6` have to the front of their lists, in that order. The
/// other hints follow in theirs. No octet outside of the two lists changes, and each list keeps its hints.
/// Malformed RDATA, and that of AliasMode, stays as it is. Returns whether the RDATA has changed.
///
/// The work is at most the number of hints, which [`HINTS_MAX`] bounds, for each address.
pub fn order_hints(
    rdata: &mut [u8],
    v4: impl Iterator<Item = [u8; 4]>,
    v6: impl Iterator<Item = [u8; 16]>,
) -> bool {
    let Some(svcb) = Svcb::read(rdata).filter(Svcb::has_choice) else { return false };
    let places = [key::IPV4HINT, key::IPV6HINT].map(|key| svcb.place(rdata, key));
    let [v4_at, v6_at] = places;
    let first = put_first(rdata.get_mut(v4_at).unwrap_or_default(), v4);
    let second = put_first(rdata.get_mut(v6_at).unwrap_or_default(), v6);
    first || second
}

/// Moves the hints that are in `order` to the front. Returns whether that changes the list.
fn put_first<const N: usize>(list: &mut [u8], order: impl Iterator<Item = [u8; N]>) -> bool {
    let (hints, _) = list.as_chunks_mut::<N>();
    if hints.len() > HINTS_MAX {
        return false;
    }
    let (mut rest, mut changed) = (hints, false);
    for address in order {
        while let Some(at) = rest.iter().position(|hint| *hint == address) {
            if let Some(part) = rest.get_mut(..=at) {
                part.rotate_right(1);
            }
            changed |= at > 0;
            rest = rest.split_first_mut().map_or(&mut [], |(_, rest)| rest);
        }
    }
    changed
}

/// The first parameter, and the octets after it.
fn first_param(octets: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let key = u16_at(octets, 0)?;
    let length = usize::from(u16_at(octets, 2)?);
    let (value, rest) = octets.get(4..)?.split_at_checked(length)?;
    Some((Param { key, value }, rest))
}

/// The length of the uncompressed name at the beginning.
fn name_end(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1 + length;
        match length {
            0 if at <= NAME_MAX => return Some(at),
            1..=63 => {}
            _ => return None,
        }
    }
}

/// Whether a value is a list of ALPN ids, none of them empty (section 7.1.1).
fn is_alpn(mut value: &[u8]) -> bool {
    while let Some((length @ 1.., rest)) = value.split_first() {
        match rest.split_at_checked(usize::from(*length)) {
            Some((_, [])) => return true,
            Some((_, after)) => value = after,
            None => return false,
        }
    }
    false
}
