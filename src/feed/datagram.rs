//! What a subscriber sends: datagrams with the names that it subscribes to.

use core::fmt;
use hither_table::Family;
use hither_wire::name::{NAME_MAX, Name};

/// Octets of the largest datagram that the daemon takes.
pub const DATAGRAM_MAX: usize = 4096;

/// The first octet of a datagram with names.
const SUBSCRIBE: u8 = 1;

/// The families of a name that are subscribed to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Families {
    /// IPv4 addresses alone.
    A,
    /// IPv6 addresses alone.
    Aaaa,
    /// The addresses of both families.
    Both,
}

impl Families {
    const fn from_octet(octet: u8) -> Option<Families> {
        match octet {
            1 => Some(Self::A),
            2 => Some(Self::Aaaa),
            3 => Some(Self::Both),
            _ => None,
        }
    }

    const fn octet(self) -> u8 {
        match self {
            Self::A => 1,
            Self::Aaaa => 2,
            Self::Both => 3,
        }
    }

    /// Whether a family is among them.
    #[must_use]
    pub const fn includes(self, family: Family) -> bool {
        self.octet() & (1 << family as u8) != 0
    }

    /// These families and others.
    #[must_use]
    pub fn and(self, others: Families) -> Families {
        if self == others { self } else { Self::Both }
    }
}

/// One name of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// The families whose changes are to be told.
    pub families: Families,
    /// The name, in the letter case of the subscriber.
    pub name: Name,
}

/// A name does not fit into a [`Datagram`] any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name does not fit into the datagram")
    }
}

impl core::error::Error for Full {}

/// A datagram that is being composed. Names that do not fit go into another one.
#[derive(Clone, Debug)]
pub struct Datagram {
    octets: [u8; DATAGRAM_MAX],
    len: usize,
}

impl Default for Datagram {
    fn default() -> Self {
        Self::new()
    }
}

impl Datagram {
    /// A datagram without names, which must not be sent.
    #[must_use]
    pub const fn new() -> Datagram {
        let mut octets = [0; DATAGRAM_MAX];
        octets[0] = SUBSCRIBE;
        Datagram { octets, len: 1 }
    }

    /// Adds a name.
    ///
    /// # Errors
    /// [`Full`]: send this datagram, and put the name into the next one.
    pub fn add(&mut self, families: Families, name: &Name) -> Result<(), Full> {
        let wire = name.as_wire();
        let end = self.len + 1 + wire.len();
        let Some([first, rest @ ..]) = self.octets.get_mut(self.len..end) else { return Err(Full) };
        *first = families.octet();
        // libhither does not link where a panic can be reached, as in a copy of slices.
        rest.iter_mut().zip(wire).for_each(|(to, from)| *to = *from);
        self.len = end;
        Ok(())
    }

    /// Whether it has no names.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len <= 1
    }

    /// Removes all names, so that others can be added.
    pub const fn clear(&mut self) {
        self.len = 1;
    }

    /// The octets to send, as one datagram.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }
}

/// Octets that are no datagram of a subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not a list of families and names")
    }
}

impl core::error::Error for Malformed {}

/// The names of a datagram that was read.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    rest: &'a [u8],
}

impl<'a> Names<'a> {
    /// Reads a datagram, all of which is checked here.
    ///
    /// # Errors
    /// [`Malformed`]: it is too long, has no name, another kind, unknown families, or octets that are
    /// no name.
    pub fn read(octets: &'a [u8]) -> Result<Names<'a>, Malformed> {
        let [SUBSCRIBE, rest @ ..] = octets else { return Err(Malformed) };
        if octets.len() > DATAGRAM_MAX || rest.is_empty() {
            return Err(Malformed);
        }
        let mut left = rest;
        while !left.is_empty() {
            left = step(left).ok_or(Malformed)?.1;
        }
        Ok(Names { rest })
    }
}

/// The first name, and the octets after it.
fn step(octets: &[u8]) -> Option<(Subscription, &[u8])> {
    let (first, rest) = octets.split_first()?;
    let families = Families::from_octet(*first)?;
    let mut len = 0;
    loop {
        let label = usize::from(*rest.get(len)?);
        len += 1 + label;
        if label == 0 {
            break;
        }
        if len >= NAME_MAX {
            return None;
        }
    }
    let name = Name::from_wire(rest.get(..len)?).ok()?;
    Some((Subscription { families, name }, rest.get(len..)?))
}

impl Iterator for Names<'_> {
    type Item = Subscription;

    fn next(&mut self) -> Option<Subscription> {
        let (first, rest) = step(self.rest)?;
        self.rest = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_datagram_is_read_as_it_was_composed() {
        let mut datagram = Datagram::new();
        assert!(datagram.is_empty());
        let all =
            [(Families::A, "www.example"), (Families::Aaaa, "."), (Families::Both, "a.b.c.d.e.f.g.example")];
        for (families, text) in all {
            datagram.add(families, &name(text)).expect("it fits");
        }
        let read: Vec<Subscription> = Names::read(datagram.octets()).expect("well formed").collect();
        let expected = all.map(|(families, text)| Subscription { families, name: name(text) });
        assert_eq!(read, expected);
        datagram.clear();
        assert_eq!(Names::read(datagram.octets()).err(), Some(Malformed), "a datagram needs a name");
    }

    #[test]
    fn a_full_datagram_keeps_what_it_has() {
        let long = name(&[["a"; 63].concat().as_str(); 3].join("."));
        let mut datagram = Datagram::new();
        let fitting = (0..100).take_while(|_| datagram.add(Families::Both, &long) == Ok(())).count();
        assert_eq!(fitting, (DATAGRAM_MAX - 1) / (1 + long.as_wire().len()));
        assert_eq!(Names::read(datagram.octets()).expect("well formed").count(), fitting);
        assert_eq!(datagram.add(Families::A, &Name::ROOT), Ok(()), "a short one fits");
    }

    #[test]
    fn only_complete_datagrams_are_read() {
        let mut datagram = Datagram::new();
        datagram.add(Families::Both, &name("www.example")).expect("it fits");
        let good = datagram.octets();
        for cut in 0..good.len() {
            assert_eq!(Names::read(&good[..cut]).err(), Some(Malformed), "{cut} octets");
        }
        for (at, octet) in [(0, 0), (0, 2), (1, 0), (1, 4), (2, 64), (2, 0xc0)] {
            let mut odd = good.to_vec();
            odd[at] = octet;
            assert_eq!(Names::read(&odd).err(), Some(Malformed), "{octet} at {at}");
        }
        let many = [&[SUBSCRIBE][..], &[1, 0].repeat(DATAGRAM_MAX)].concat();
        assert_eq!(Names::read(&many).err(), Some(Malformed), "too long");
        assert!(Names::read(&many[..DATAGRAM_MAX - 1]).is_ok());
    }

    proptest! {
        #[test]
        fn any_octets_give_names_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(names) = Names::read(&octets) {
                let mut again = Datagram::new();
                names.for_each(|one| again.add(one.families, &one.name).expect("it fits"));
                prop_assert_eq!(again.octets(), &octets[..]);
            }
        }
    }
}
