//! Messages between the sorter and the daemon. Both are strict: the two are always of one version.

use crate::{Explain, Explained};
use hither_table::{ProbeMethod, ProbeOutcome, Trust};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The version of these messages; a sorter of another version is refused.
pub const VERSION: u32 = 3;

/// A message from the sorter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SorterMessage {
    /// The first message of a connection.
    Hello {
        /// The sorter's [`VERSION`].
        version: u32,
        /// Kinds of probes that it cannot send on this host, with the reason.
        lacks: Vec<String>,
    },
    /// The order of a set that was measured.
    Order(Order),
    /// What it knows of the addresses of a set.
    Explained(Explained),
    /// How much the sorter has done.
    Stats(SorterCounts),
}

/// What the sorter has done since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SorterCounts {
    /// Probes that were sent.
    pub sent: u64,
    /// Results of probes by [`ProbeMethod`] and [`ProbeOutcome`].
    pub probes: [[u64; ProbeOutcome::ALL.len()]; ProbeMethod::ALL.len()],
    /// Handshakes that ended, by [`Trust`].
    pub verdicts: [u64; Trust::ALL.len()],
}

impl SorterCounts {
    /// The sums of both.
    #[must_use]
    pub fn plus(mut self, other: &SorterCounts) -> SorterCounts {
        let own = self.probes.iter_mut().flatten().chain(&mut self.verdicts).chain([&mut self.sent]);
        let others = other.probes.iter().flatten().chain(&other.verdicts).chain([&other.sent]);
        own.zip(others).for_each(|(own, other)| *own = own.saturating_add(*other));
        self
    }
}

/// An order for one address set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The generation of the table from which the set was read.
    pub generation: u64,
    /// The name in presentation form.
    pub name: String,
    /// The mnemonic `A` or `AAAA`.
    pub rtype: String,
    /// The version with which the set was published.
    pub set_version: u64,
    /// All addresses of the set, the best one first.
    pub addresses: Vec<OrderedAddress>,
}

/// One address of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderedAddress {
    /// The address that was measured.
    pub address: IpAddr,
    /// The round-trip time in microseconds, if the address answered.
    pub rtt_us: Option<u32>,
    /// Whether the address answered; `None` if it was not measured.
    pub reachable: Option<bool>,
    /// The verdict on the certificate that the server there shows for the name.
    pub verdict: Verdict,
}

/// A verdict on a certificate, as in [`hither_table::Trust`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Verdict {
    #[default]
    Unknown,
    Verified,
    OtherName,
    Expired,
    NotYet,
    Untrusted,
    NoTls,
}

impl Verdict {
    /// The verdict for the table.
    #[must_use]
    pub fn trust(self) -> Trust {
        Trust::from_number(self as u8)
    }
}

impl From<Trust> for Verdict {
    fn from(trust: Trust) -> Verdict {
        match trust {
            Trust::Unknown => Self::Unknown,
            Trust::Verified => Self::Verified,
            Trust::OtherName => Self::OtherName,
            Trust::Expired => Self::Expired,
            Trust::NotYet => Self::NotYet,
            Trust::Untrusted => Self::Untrusted,
            Trust::NoTls => Self::NoTls,
        }
    }
}

/// The daemon's reply to an order, or its request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SorterReply {
    /// The order was published.
    Applied {
        /// The version that was published.
        version: u64,
    },
    /// The order was refused.
    Rejected {
        /// Why it was refused.
        reason: String,
        /// The version of the set that the table holds instead.
        set_version: Option<u64>,
    },
    /// A request, not a reply: say what is known of the addresses of a set.
    Explain(Explain),
    /// The sorter is of another [`VERSION`]; the connection ends.
    Unwelcome {
        /// Both versions, for the log.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_the_table_and_have_its_words() {
        for trust in Trust::ALL {
            let verdict = Verdict::from(trust);
            let word = serde_json::to_value(verdict).expect("a word");
            assert_eq!((verdict.trust(), word), (trust, trust.as_str().into()));
        }
    }
}
