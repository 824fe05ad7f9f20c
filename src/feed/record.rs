//! What the daemon sends: records of changes and of gaps, and an answer to each datagram.

use core::fmt;
use hither_table::Family;
use hither_wire::name::NAME_MAX;

/// Octets of a record before the name.
pub const RECORD_HEAD: usize = 24;
/// Octets of the longest record. A reader that gives recv(2) this much never gets a cut record.
pub const RECORD_MAX: usize = RECORD_HEAD + NAME_MAX;

/// Why a record was sent about a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The name has other addresses, or has addresses again.
    NewSet,
    /// Upstreams deny that there are addresses, or hither withholds them (DNS rebinding).
    Withdrawn,
    /// The table has no answer any more that may be used, and none could be had.
    Gone,
    /// The same addresses are in another order.
    Order,
    /// hither answers the name itself, from a hosts file, a block list or as a special-use name, and
    /// that answer is new. The table does not have it.
    Local,
    /// A cause that a newer daemon knows. Its subscriber looks the name up.
    Other,
}

impl Cause {
    const fn octet(self) -> u8 {
        match self {
            Self::NewSet => 1,
            Self::Withdrawn => 2,
            Self::Gone => 3,
            Self::Order => 4,
            Self::Local => 5,
            Self::Other => u8::MAX,
        }
    }

    const fn from_octet(octet: u8) -> Cause {
        match octet {
            1 => Self::NewSet,
            2 => Self::Withdrawn,
            3 => Self::Gone,
            4 => Self::Order,
            5 => Self::Local,
            _ => Self::Other,
        }
    }

    /// The word for people, scripts and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewSet => "new-set",
            Self::Withdrawn => "withdrawn",
            Self::Gone => "gone",
            Self::Order => "order",
            Self::Local => "local",
            Self::Other => "other",
        }
    }
}

/// Why the daemon did not take a datagram, or a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// The datagram cannot be read.
    Malformed,
    /// The user would have more names than `feed.names_per_user`.
    NamesOfUser,
    /// There would be more names than `feed.names`.
    NamesOfAll,
    /// The user has too many connections. The daemon closes this one.
    SubscribersOfUser,
    /// There are too many connections. The daemon closes this one.
    SubscribersOfAll,
    /// A reason that a newer daemon knows.
    Other,
}

impl Refusal {
    const fn octet(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::NamesOfUser => 2,
            Self::NamesOfAll => 3,
            Self::SubscribersOfUser => 4,
            Self::SubscribersOfAll => 5,
            Self::Other => u8::MAX,
        }
    }

    const fn from_octet(octet: u8) -> Refusal {
        match octet {
            1 => Self::Malformed,
            2 => Self::NamesOfUser,
            3 => Self::NamesOfAll,
            4 => Self::SubscribersOfUser,
            5 => Self::SubscribersOfAll,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the daemon cannot read the datagram",
            Self::NamesOfUser => "this user would have more names than feed.names_per_user",
            Self::NamesOfAll => "there would be more names than feed.names",
            Self::SubscribersOfUser => "this user has too many subscribers",
            Self::SubscribersOfAll => "there are too many subscribers",
            Self::Other => "the daemon gives a reason that this program does not know",
        })
    }
}

impl core::error::Error for Refusal {}

/// A change of the address set of a name and family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<'a> {
    /// The kind of the change.
    pub cause: Cause,
    /// The family that changed.
    pub family: Family,
    /// Whether versions of this name and family were passed over, of which there is no record.
    pub coalesced: bool,
    /// The version of the set, or of its denial. For [`Cause::Gone`] the last one that the table had;
    /// 0 for [`Cause::Local`].
    pub version: u64,
    /// The version at which the addresses last changed; 0 if there are none.
    pub set_version: u64,
    /// The name in lower-case wire form.
    pub name: &'a [u8],
}

/// One record of the feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// A name has changed.
    Change(Change<'a>),
    /// The subscriber did not read for so long that records were merged: records of all names that
    /// have changed meanwhile follow, each with the latest state.
    Gap {
        /// The table's last version at that time.
        version: u64,
    },
    /// All names of the next datagram that had no answer yet are taken.
    Accepted {
        /// The names that the subscriber has now.
        names: u32,
        /// The table's last version at that time. Every change with a higher version is told.
        version: u64,
    },
    /// No name of that datagram is taken.
    Refused {
        /// Why it was refused.
        reason: Refusal,
        /// The names that the subscriber has.
        names: u32,
    },
}

/// Octets that are no record, or a record of an unknown kind, which readers pass over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no record of a known kind")
    }
}

impl core::error::Error for Unreadable {}

const CHANGE: u8 = 1;
const GAP: u8 = 2;
const ACCEPTED: u8 = 3;
const REFUSED: u8 = 4;
/// Set in the flags of a change whose name has versions that were passed over.
const COALESCED: u8 = 1;

/// The fixed part of a record: four octets, four octets with a number, and two versions.
struct Head {
    kind: u8,
    /// The cause of a change, or the reason of a refusal.
    why: u8,
    family: u8,
    flags: u8,
    names: u32,
    version: u64,
    set_version: u64,
}

impl Head {
    const fn of_kind(kind: u8) -> Head {
        Head { kind, why: 0, family: 0, flags: 0, names: 0, version: 0, set_version: 0 }
    }

    fn read(octets: &[u8; RECORD_HEAD]) -> Head {
        let [kind, why, family, flags, n0, n1, n2, n3, versions @ ..] = *octets;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.iter_mut().zip(versions.iter().skip(at)).for_each(|(to, from)| *to = *from);
            u64::from_le_bytes(word)
        };
        let names = u32::from_le_bytes([n0, n1, n2, n3]);
        Head { kind, why, family, flags, names, version: word(0), set_version: word(8) }
    }

    fn write(&self, out: &mut [u8; RECORD_HEAD]) {
        let words = [self.version, self.set_version].map(u64::to_le_bytes);
        let octets = [self.kind, self.why, self.family, self.flags].into_iter();
        let octets = octets.chain(self.names.to_le_bytes()).chain(words.into_iter().flatten());
        out.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
    }
}

impl<'a> Record<'a> {
    /// Reads a record.
    ///
    /// # Errors
    /// [`Unreadable`], of a record of a newer daemon too: readers pass it over.
    pub fn read(octets: &'a [u8]) -> Result<Record<'a>, Unreadable> {
        let (head, name) = octets.split_first_chunk::<RECORD_HEAD>().ok_or(Unreadable)?;
        let Head { kind, why, family, flags, names, version, set_version } = Head::read(head);
        match kind {
            CHANGE => {
                let family = match family {
                    1 => Family::A,
                    2 => Family::Aaaa,
                    _ => return Err(Unreadable),
                };
                if hither_wire::name::Name::from_wire(name).is_err() {
                    return Err(Unreadable);
                }
                let (cause, coalesced) = (Cause::from_octet(why), flags & COALESCED != 0);
                Ok(Record::Change(Change { cause, family, coalesced, version, set_version, name }))
            }
            GAP => Ok(Record::Gap { version }),
            ACCEPTED => Ok(Record::Accepted { names, version }),
            REFUSED => Ok(Record::Refused { reason: Refusal::from_octet(why), names }),
            _ => Err(Unreadable),
        }
    }

    /// Writes the record into `out`, and returns its octets.
    pub fn write<'o>(&self, out: &'o mut [u8; RECORD_MAX]) -> &'o [u8] {
        let (head, name): (Head, &[u8]) = match *self {
            Record::Change(Change { cause, family, coalesced, version, set_version, name }) => (
                Head {
                    why: cause.octet(),
                    family: 1 + family as u8,
                    flags: if coalesced { COALESCED } else { 0 },
                    version,
                    set_version,
                    ..Head::of_kind(CHANGE)
                },
                name,
            ),
            Record::Gap { version } => (Head { version, ..Head::of_kind(GAP) }, &[]),
            Record::Accepted { names, version } => (Head { names, version, ..Head::of_kind(ACCEPTED) }, &[]),
            Record::Refused { reason, names } => {
                (Head { why: reason.octet(), names, ..Head::of_kind(REFUSED) }, &[])
            }
        };
        let mut len = RECORD_HEAD;
        if let Some((to, rest)) = out.split_first_chunk_mut::<RECORD_HEAD>() {
            head.write(to);
            rest.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
            len += name.len().min(rest.len());
        }
        out.get(..len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use hither_wire::name::Name;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn records_are_read_as_they_were_written() {
        let name: Name = "www.example".parse().expect("a name");
        let causes = [Cause::NewSet, Cause::Withdrawn, Cause::Gone, Cause::Order, Cause::Local, Cause::Other];
        let changes = causes.into_iter().flat_map(|cause| {
            [(Family::A, true), (Family::Aaaa, false)].map(|(family, coalesced)| {
                let (version, set_version) = (u64::MAX / 3, 77);
                Record::Change(Change {
                    cause,
                    family,
                    coalesced,
                    version,
                    set_version,
                    name: name.as_wire(),
                })
            })
        });
        let reasons = [
            Refusal::Malformed,
            Refusal::NamesOfUser,
            Refusal::NamesOfAll,
            Refusal::SubscribersOfUser,
            Refusal::SubscribersOfAll,
            Refusal::Other,
        ];
        let refused = reasons.map(|reason| Record::Refused { reason, names: 5 });
        let others = [Record::Gap { version: 9 }, Record::Accepted { names: 1 << 20, version: 1 << 50 }];
        for record in changes.chain(refused).chain(others) {
            let mut out = [0xff; RECORD_MAX];
            let octets = record.write(&mut out);
            assert_eq!(Record::read(octets), Ok(record));
            assert_eq!(Record::read(&octets[..RECORD_HEAD - 1]), Err(Unreadable));
        }
    }

    #[test]
    fn the_layout_is_the_one_of_the_manual_page() {
        let name: Name = "a".parse().expect("a name");
        let change = Change {
            cause: Cause::Order,
            family: Family::Aaaa,
            coalesced: true,
            version: 0x0102,
            set_version: 0x0304,
            name: name.as_wire(),
        };
        let mut out = [0; RECORD_MAX];
        let octets = Record::Change(change).write(&mut out).to_vec();
        let expected: Vec<u8> =
            [&[1, 4, 2, 1][..], &[0; 4], &[2, 1, 0, 0, 0, 0, 0, 0], &[4, 3, 0, 0, 0, 0, 0, 0], &[1, b'a', 0]]
                .concat();
        assert_eq!(octets, expected);
        let refused = Record::Refused { reason: Refusal::NamesOfAll, names: 7 }.write(&mut out).to_vec();
        assert_eq!(refused[..8], [4, 3, 0, 0, 7, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_octets_give_a_record_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = [0; RECORD_MAX];
            if let Ok(record) = Record::read(&octets) {
                let written = record.write(&mut out).to_vec();
                prop_assert_eq!(Record::read(&written), Ok(record));
            }
        }
    }
}
