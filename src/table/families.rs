//! Both families of a name together: the order over their addresses, and whether one of them is
//! withheld.
//!
//! Pure: all is computed from one entry, which is of one publish, and from the policy that the daemon
//! publishes in the header. Neither allocates nor makes a system call. A family keeps its own order
//! among addresses of the same rank, so a difference within `sort.hysteresis` moves nothing.

use crate::family::FamilyView;
use crate::record::{Entry, Snapshot, Wanted};
use crate::time::Monotonic;
use crate::types::{Address, Family, Rtt, Trust};
use core::iter::Peekable;

/// How readers that take both families order them (`sort.families`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FamilyOrder {
    /// IPv4 before IPv6, each as its set has it. Tables before ABI 1.3 have this order.
    #[default]
    AsIs,
    /// By measured round-trip time over both families.
    Measured,
    /// IPv6 before IPv4.
    V6First,
    /// IPv4 before IPv6.
    V4First,
}

impl FamilyOrder {
    /// Each order, at the position of its number.
    pub const ALL: [FamilyOrder; 4] = [Self::AsIs, Self::Measured, Self::V6First, Self::V4First];

    /// The word of the configuration and of JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsIs => "as_is",
            Self::Measured => "measured",
            Self::V6First => "v6",
            Self::V4First => "v4",
        }
    }
}

/// What the daemon lets readers do with the two families of a name: the word
/// [`crate::layout::head::FAMILIES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FamilyPolicy {
    /// The order over both families.
    pub order: FamilyOrder,
    /// `Some`: a family is withheld where the other is better by more than this, in microseconds, see
    /// [`Entry::withheld`].
    pub withhold_above_us: Option<u32>,
}

/// The bit of the word that says that families are withheld.
const WITHHOLDS: u64 = 1 << 8;

impl FamilyPolicy {
    /// The policy in the word of a header. A number of a later version is read as
    /// [`FamilyOrder::AsIs`].
    #[must_use]
    pub fn from_word(word: u64) -> FamilyPolicy {
        let number = (word & 0xff) as usize;
        FamilyPolicy {
            order: FamilyOrder::ALL.get(number).copied().unwrap_or_default(),
            withhold_above_us: (word & WITHHOLDS != 0).then_some((word >> 32) as u32),
        }
    }

    /// The word for a header.
    #[must_use]
    pub fn to_word(self) -> u64 {
        let withheld = self.withhold_above_us.map_or(0, |margin| WITHHOLDS | u64::from(margin) << 32);
        self.order as u64 | withheld
    }
}

/// Why a family is withheld.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Withheld {
    /// None of its addresses can be reached from this host.
    Unreachable,
    /// It is slower than the other family by more than `sort.family_margin`.
    Slower,
}

impl Withheld {
    /// The reason in a few words, for the operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "none of its addresses can be reached from this host",
            Self::Slower => "it is slower than the other family by more than sort.family_margin",
        }
    }
}

impl Family {
    /// The other family: of a name's two sets, the second one.
    #[must_use]
    pub const fn other(self) -> Family {
        match self {
            Self::A => Self::Aaaa,
            Self::Aaaa => Self::A,
        }
    }
}

impl FamilyView<'_> {
    /// Whether the other family of the entry has addresses, so that both are weighed against each other.
    #[must_use]
    pub fn has_counterpart(&self) -> bool {
        self.entry.family(self.family.other()).is_some_and(|other| !other.is_empty())
    }
}

/// The ranks that an address can have: [`Ranking::of`] gives lower ones to addresses that come first.
const RANKS: u32 = 16;

/// How the addresses of one entry are ranked.
#[derive(Clone, Copy)]
struct Ranking {
    order: FamilyOrder,
    /// Whether bad certificates count, since an address of either family has a good one.
    has_verified: bool,
}

impl Ranking {
    /// The rank of an address. Addresses of one rank are in the order of their times.
    fn of(self, address: &Address) -> u8 {
        let is_v6 = address.address.is_ipv6();
        let is_bad = self.has_verified && address.trust.is_bad();
        match self.order {
            FamilyOrder::AsIs => u8::from(is_v6),
            FamilyOrder::V4First => u8::from(is_bad) << 1 | u8::from(is_v6),
            FamilyOrder::V6First => u8::from(is_bad) << 1 | u8::from(!is_v6),
            FamilyOrder::Measured => {
                let reach = match address.rtt {
                    Rtt::Micros(_) => 0,
                    Rtt::Unmeasured => 1,
                    Rtt::Unreachable => 2,
                };
                u8::from(is_bad) << 3 | u8::from(!is_confirmed(address)) << 2 | reach
            }
        }
    }

    /// The addresses of a set that have this rank with their places in it, in its order.
    fn members<'s>(
        self,
        set: Option<FamilyView<'s>>,
        rank: u8,
    ) -> Peekable<impl Iterator<Item = (usize, Address)> + use<'s>> {
        let addresses = set.into_iter().flat_map(|set| set.addresses().enumerate());
        addresses.filter(move |(_, address)| self.of(address) == rank).peekable()
    }
}

/// Whether several upstreams or the first answer gave an address, or its certificate is verified.
fn is_confirmed(address: &Address) -> bool {
    address.is_trusted() || address.trust == Trust::Verified
}

/// The time of an address; of those that have none, all are the same.
fn micros(address: &Address) -> u32 {
    if let Rtt::Micros(micros) = address.rtt { micros } else { 0 }
}

impl<'s> Entry<'s> {
    /// The addresses of the wanted families in one order, each once.
    ///
    /// [`FamilyOrder::Measured`]: confirmed and verified addresses before those that only one later upstream
    /// gave;
    /// among these, addresses with a time before unmeasured ones, and unreachable ones after them; then
    /// by time, IPv6 before IPv4 at equal times and among addresses without a time (RFC 6724, RFC 8305
    /// section 4). If an address of either family has a verified certificate, those whose certificate
    /// is for another name or untrusted come last, except as [`FamilyOrder::AsIs`]. A family that is
    /// alone keeps its order.
    pub fn ordered(&self, wanted: Wanted, order: FamilyOrder) -> impl Iterator<Item = Address> + use<'s> {
        self.places(wanted, order).map(|(_, address)| address)
    }

    /// The addresses of [`Entry::ordered`], each with its place in the set of its family, from 0 on.
    pub fn places(
        &self,
        wanted: Wanted,
        order: FamilyOrder,
    ) -> impl Iterator<Item = (usize, Address)> + use<'s> {
        let set = |family| self.family(family).filter(|set| wanted.includes(family) && !set.is_empty());
        let (v4, v6) = (set(Family::A), set(Family::Aaaa));
        let all = || v4.into_iter().chain(v6).flat_map(|set| set.addresses());
        let ranking = Ranking {
            order: if v4.is_some() && v6.is_some() { order } else { FamilyOrder::AsIs },
            has_verified: all().any(|address| address.trust == Trust::Verified),
        };
        // A bit for each rank that an address has.
        let mut ranks = all().fold(0_u16, |ranks, own| ranks | 1_u16.wrapping_shl(ranking.of(&own).into()));
        let (mut four, mut six) = (ranking.members(None, 0), ranking.members(None, 0));
        core::iter::from_fn(move || {
            loop {
                match (four.peek(), six.peek()) {
                    (Some((_, one)), Some((_, other))) if micros(one) < micros(other) => return four.next(),
                    (_, Some(_)) => return six.next(),
                    (Some(_), None) => return four.next(),
                    (None, None) => {}
                }
                let rank = ranks.trailing_zeros();
                if rank >= RANKS {
                    return None;
                }
                ranks &= ranks.wrapping_sub(1);
                (four, six) = (ranking.members(v4, rank as u8), ranking.members(v6, rank as u8));
            }
        })
    }

    /// Whether a family is withheld from clients that sort the families by themselves (DNS, getaddrinfo),
    /// and why.
    ///
    /// Only if the policy says so, both families are known and fresh, each address of this family has been
    /// measured, and a confirmed address of the other one has answered. The first is then unreachable,
    /// or its best time is worse than the other's by more than the margin. So never both families of an
    /// entry are withheld. A family with a verified certificate is not withheld in favour of one without.
    #[must_use]
    pub fn withheld(&self, family: Family, policy: FamilyPolicy, now: Monotonic) -> Option<Withheld> {
        let margin_us = policy.withhold_above_us?;
        let fresh = |family| self.family(family).filter(|set| !set.is_empty() && !set.expired(now));
        let (own, other) = (fresh(family)?, fresh(family.other())?);
        let has_verified =
            |set: &FamilyView<'_>| set.addresses().any(|address| address.trust == Trust::Verified);
        if has_verified(&own) && !has_verified(&other) {
            return None;
        }
        let time = |address: Address| if let Rtt::Micros(micros) = address.rtt { Some(micros) } else { None };
        let counts = |address: &Address| is_confirmed(address) && !address.trust.is_bad();
        let others_best = other.addresses().filter(counts).filter_map(time).min()?;
        if own.addresses().any(|address| address.rtt == Rtt::Unmeasured) {
            return None;
        }
        match own.addresses().filter_map(time).min() {
            None => Some(Withheld::Unreachable),
            Some(best) if best.saturating_sub(others_best) > margin_us => Some(Withheld::Slower),
            Some(_) => None,
        }
    }
}

impl Snapshot {
    /// The addresses of the wanted families in one order, as [`Entry::ordered`] gives them.
    pub fn ordered(&self, wanted: Wanted, order: FamilyOrder) -> impl Iterator<Item = Address> {
        self.entry().ordered(wanted, order)
    }
}
