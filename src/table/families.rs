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
const RANKS: u8 = 16;

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
                u8::from(is_bad) << 3 | u8::from(!address.is_confirmed()) << 2 | reach
            }
        }
    }
}

/// The addresses of an entry in one order, each with its place in the set of its family.
///
/// Rank by rank, both sets are merged. A set is looked through once for each rank, which takes no memory.
struct Ordered<'s> {
    entry: Entry<'s>,
    /// How many addresses of each family are wanted.
    counts: [usize; 2],
    ranking: Ranking,
    rank: u8,
    /// The places in both sets that come next.
    next: [usize; 2],
}

impl Ordered<'_> {
    /// The next address of a family that has the current rank, with its place.
    #[inline(never)]
    fn peek(&self, family: Family) -> Option<(usize, Address)> {
        let index = usize::from(family == Family::Aaaa);
        let (from, count) = (self.next.get(index).copied()?, self.counts.get(index).copied()?);
        for place in from..count {
            let address = self.entry.address(family, place);
            if self.ranking.of(&address) == self.rank {
                return Some((place, address));
            }
        }
        None
    }
}

impl Iterator for Ordered<'_> {
    type Item = (usize, Address);

    // Not inlined, since the module that is in every process has it in several places.
    #[inline(never)]
    fn next(&mut self) -> Option<(usize, Address)> {
        while self.rank < RANKS {
            let (four, six) = (self.peek(Family::A), self.peek(Family::Aaaa));
            let is_four = match (&four, &six) {
                (Some((_, one)), Some((_, other))) => micros(one) < micros(other),
                (one, _) => one.is_some(),
            };
            if let Some((place, address)) = if is_four { four } else { six } {
                let next = if is_four { &mut self.next[0] } else { &mut self.next[1] };
                *next = place + 1;
                return Some((place, address));
            }
            (self.rank, self.next) = (self.rank + 1, [0; 2]);
        }
        None
    }
}

/// The time of an address; of those that have none, all are the same.
fn micros(address: &Address) -> u32 {
    if let Rtt::Micros(micros) = address.rtt { micros } else { 0 }
}

impl<'s> Entry<'s> {
    /// The addresses of the wanted families in one order, each once.
    ///
    /// [`FamilyOrder::Measured`]: confirmed addresses before those that one later upstream alone gave; among
    /// these, addresses with a time before unmeasured ones, and unreachable ones after them; then by time,
    /// IPv6 before IPv4 at equal times and among addresses without a time (RFC 6724, RFC 8305 section 4).
    /// If an address of either family has a verified certificate, those whose certificate
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
        let count = |family| if wanted.includes(family) { self.count(family) } else { 0 };
        let counts = [Family::A, Family::Aaaa].map(count);
        let is_one = counts.contains(&0);
        let ranking = Ranking {
            order: if is_one { FamilyOrder::AsIs } else { order },
            has_verified: !is_one
                && [Family::A, Family::Aaaa].iter().any(|family| self.has_verified(*family)),
        };
        Ordered { entry: *self, counts, ranking, rank: 0, next: [0; 2] }
    }

    /// Whether a family has addresses that have not expired.
    #[inline(never)]
    fn is_fresh(&self, family: Family, now: Monotonic) -> bool {
        self.family(family).is_some_and(|set| !set.is_empty() && !set.expired(now))
    }

    /// The best time of a family's addresses, in microseconds: of all, or of those that count as good.
    #[inline(never)]
    fn best_us(&self, family: Family, is_good: bool) -> Option<u32> {
        let mut best = None;
        for place in 0..self.count(family) {
            let own = self.address(family, place);
            if let Rtt::Micros(micros) = own.rtt
                && (!is_good || own.is_confirmed() && !own.trust.is_bad())
            {
                best = Some(best.map_or(micros, |best: u32| best.min(micros)));
            }
        }
        best
    }

    /// Whether an address of a family has a verified certificate.
    #[inline(never)]
    fn has_verified(&self, family: Family) -> bool {
        (0..self.count(family)).any(|place| self.address(family, place).trust == Trust::Verified)
    }

    /// Whether a family is withheld from clients that sort the families by themselves (DNS, getaddrinfo),
    /// and why.
    ///
    /// Only if the policy says so, both families are known and fresh, each address of this family has been
    /// measured, and a confirmed address of the other one has answered. This family is then unreachable,
    /// or its best time is worse than the other's by more than the margin. So never both families of an
    /// entry are withheld. A family with a verified certificate is not withheld in favour of one without.
    #[must_use]
    #[inline(never)]
    pub fn withheld(&self, family: Family, policy: FamilyPolicy, now: Monotonic) -> Option<Withheld> {
        let margin_us = policy.withhold_above_us?;
        if !self.is_fresh(family, now) || !self.is_fresh(family.other(), now) {
            return None;
        }
        if self.has_verified(family) && !self.has_verified(family.other()) {
            return None;
        }
        let others_best = self.best_us(family.other(), true)?;
        if (0..self.count(family)).any(|n| self.address(family, n).rtt == Rtt::Unmeasured) {
            return None;
        }
        match self.best_us(family, false) {
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
