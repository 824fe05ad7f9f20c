//! What is known of a name, as `hitherctl explain` shows it. Times are milliseconds before or after the
//! answer. Missing fields are empty: the daemon may be of another version.

use crate::fit::{cut, fits};
use crate::{AddressProbes, AskedBy, AttemptReport, SourceKind};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What the daemon and the sorter know of a name and a type.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The name in presentation form.
    pub name: String,
    /// The mnemonic `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// The source of the answer that a client gets now; `None` if its query would begin a round.
    pub source: Option<SourceKind>,
    /// The file and line, the RFC, or the round; `None` if the source alone is the explanation.
    pub source_detail: Option<String>,
    /// The set in the table.
    pub set: Option<SetReport>,
    /// The latest versions that are kept, the oldest first.
    pub versions: Vec<VersionReport>,
    /// How many versions came before them, and are not shown.
    pub versions_earlier: u64,
    /// Whether there may have been more.
    pub versions_earlier_or_more: bool,
    /// The live round, else the latest one that is kept.
    pub round: Option<RoundReport>,
    /// The addresses of the set in their order.
    pub addresses: Vec<AddressReport>,
    /// How many of them were left out, since the answer would be too long.
    pub addresses_more: u64,
    /// What is due next.
    pub next: NextReport,
    /// What the sorter said: `answered`, or why not.
    pub sorter: String,
    /// The clients that asked for it lately.
    pub asked_by: AskedBy,
}

/// A set in the table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SetReport {
    /// The version of the set.
    pub version: u64,
    /// The version of its addresses.
    pub set_version: u64,
    /// The round that gathered it.
    pub round: u64,
    /// `first`, `partial` or `complete`.
    pub state: String,
    /// Whether the addresses are in a measured order.
    pub sorted: bool,
    /// Whether it has expired.
    pub stale: bool,
    /// `nxdomain` or `nodata`; `None` if there are addresses.
    pub negative: Option<String>,
    /// How many upstreams answered in its round.
    pub answered: u8,
    /// Why the upstreams disagree, one word each.
    pub disputes: Vec<String>,
    /// The upstreams that disagree with the others.
    pub dissenters: Vec<String>,
}

/// One version of a set, or its removal.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionReport {
    /// The version; for a removal the latest one before it.
    pub version: u64,
    /// The version of its addresses.
    pub set_version: u64,
    /// The round that gathered it.
    pub round: u64,
    /// How long ago it was published or removed; 0 for `taken_over`, where that is not known.
    pub ago_ms: u64,
    /// The cause, one word.
    pub cause: String,
    /// `first`, `partial` or `complete`.
    pub state: String,
    /// `nxdomain` or `nodata`; `None` if there are addresses.
    pub negative: Option<String>,
    /// Whether the addresses are in a measured order.
    pub sorted: bool,
    /// The lifetime that it had left then.
    pub lifetime_ms: u64,
    /// The first addresses in their order.
    pub addresses: Vec<IpAddr>,
    /// How many addresses are not listed.
    pub addresses_more: u64,
}

/// A round and its attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoundReport {
    /// The number of the round, which grows with each.
    pub round: u64,
    /// How long ago it began.
    pub began_ms_ago: u64,
    /// How long it lasted; `None` while it is live.
    pub lasted_us: Option<u64>,
    /// `live`, `complete`, `partial` or `superseded`.
    pub end: String,
    /// The question to other hosts of the site, if the round has waited for its answer.
    pub site: Option<SiteAskReport>,
    /// Its attempts in the order of their beginning.
    pub attempts: Vec<AttemptReport>,
    /// How many attempts were left out, since the answer would be too long.
    pub attempts_more: u64,
}

/// A question to other hosts of the site, before upstreams were asked. Times are after the round's start.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteAskReport {
    /// When it was asked.
    pub asked_us: u64,
    /// When the round stopped to wait; `None` while it waits.
    pub ended_us: Option<u64>,
    /// `answer`, `nothing`, `refused`, `unanswered`, `not_awaited` or `waiting`.
    pub outcome: String,
}

/// Something that an attempt brought and that was refused.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusalReport {
    /// The reason, one word.
    pub why: String,
    /// How many responses; for `private` and `left_out`, how many addresses.
    pub count: u32,
    /// When it happened last, after the round's start.
    pub last_us: u64,
    /// The first private address.
    pub address: Option<IpAddr>,
}

/// One address of a set.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressReport {
    /// The address in text.
    pub address: String,
    /// Its position in the set, from 1.
    pub position: u64,
    /// Why it stands there, for the operator.
    pub why: String,
    /// The round-trip time in the table; `None` if it is not measured or does not answer.
    pub rtt_us: Option<u32>,
    /// Whether it answers; `None` if it is not measured.
    pub reachable: Option<bool>,
    /// What its certificate says, one word.
    pub trust: String,
    /// How many upstreams gave it.
    pub sources: u8,
    /// These upstreams; empty if the numbers of that round mean other upstreams by now.
    pub given_by: Vec<String>,
    /// What the sorter knows of it; `None` if it did not say.
    pub sorter: Option<AddressProbes>,
}

/// What is due next. `None`: nothing of the kind.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NextReport {
    /// Until the set expires; 0 if it has.
    pub expiry_in_ms: Option<u64>,
    /// Until a query refreshes the set; 0 if the next one does.
    pub refresh_in_ms: Option<u64>,
    /// Until the expired set is no longer served.
    pub stale_until_in_ms: Option<u64>,
    /// Until the round ends at the latest.
    pub deadline_in_ms: Option<u64>,
    /// Until the next sample of an address.
    pub sample_in_ms: Option<u64>,
    /// Until a certificate is looked at again.
    pub certificate_in_ms: Option<u64>,
}

/// Lengths to which lists are cut, one after the other until the explanation fits.
const STEPS: [usize; 7] = [128, 64, 32, 16, 4, 1, 0];

impl Explanation {
    /// Shortens the explanation until it fits into a message: first the addresses of attempts and versions,
    /// then names of certificates, then attempts, versions and addresses themselves. What is left out is
    /// counted.
    #[must_use]
    pub fn fitting(mut self) -> Explanation {
        for most in STEPS {
            if fits(&self) {
                return self;
            }
            self.cut_addresses(most);
        }
        for most in STEPS {
            if fits(&self) {
                return self;
            }
            self.cut_lists(most);
        }
        self
    }

    fn cut_addresses(&mut self, most: usize) {
        for version in &mut self.versions {
            version.addresses_more += cut(&mut version.addresses, most);
        }
        for attempt in self.round.iter_mut().flat_map(|round| &mut round.attempts) {
            attempt.addresses_more += cut(&mut attempt.addresses, most);
        }
    }

    fn cut_lists(&mut self, most: usize) {
        let certificates = self.addresses.iter_mut().filter_map(|a| a.sorter.as_mut()?.certificate.as_mut());
        for certificate in certificates {
            certificate.names_more = certificate.names_more.saturating_add(cut(&mut certificate.names, most));
        }
        if let Some(round) = &mut self.round {
            round.attempts_more += cut(&mut round.attempts, most);
        }
        // The latest versions stay.
        let oldest = self.versions.len().saturating_sub(most);
        self.versions.drain(..oldest);
        self.versions_earlier += oldest as u64;
        self.addresses_more += cut(&mut self.addresses, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CertificateReport, ProbeReport, Response, decode, encode};

    fn address(end: usize) -> IpAddr {
        IpAddr::from([0xfd00, 1, 2, 3, 4, 5, 6, end as u16])
    }

    fn explanation(addresses: usize, versions: usize, attempts: usize) -> Explanation {
        let certificate =
            CertificateReport { names: vec!["x".repeat(200); 8], ..CertificateReport::default() };
        let probe = ProbeReport { method: "tcp:443".to_owned(), ..ProbeReport::default() };
        let report = |n: usize| AddressReport {
            address: address(n).to_string(),
            position: n as u64 + 1,
            why: "y".repeat(100),
            given_by: vec!["tls://dns.example".to_owned(); 22],
            sorter: Some(AddressProbes {
                probes: vec![probe.clone(); 4],
                certificate: Some(certificate.clone()),
                ..AddressProbes::of(address(n))
            }),
            ..AddressReport::default()
        };
        let version = |n: usize| VersionReport {
            version: n as u64,
            cause: "merged".to_owned(),
            addresses: (0..16).map(address).collect(),
            ..VersionReport::default()
        };
        let attempt =
            AttemptReport { addresses: (0..255).map(address).collect(), ..AttemptReport::default() };
        Explanation {
            name: "\\255".repeat(255),
            versions: (0..versions).map(version).collect(),
            round: Some(RoundReport { attempts: vec![attempt; attempts], ..RoundReport::default() }),
            addresses: (0..addresses).map(report).collect(),
            ..Explanation::default()
        }
    }

    #[test]
    fn an_explanation_of_any_size_fits_and_what_is_left_out_is_counted() {
        let small = explanation(4, 9, 3);
        assert_eq!(small.clone().fitting(), small, "what fits stays as it is");
        for (addresses, versions, attempts) in [(255, 64, 64), (16, 64, 64), (255, 2, 2), (2, 64, 2)] {
            let long = explanation(addresses, versions, attempts).fitting();
            let response = Response::Explained(Some(Box::new(long.clone())));
            let octets = encode(&response).expect("it fits");
            assert_eq!(decode::<Response>(&octets).expect("ours"), response);
            let round = long.round.as_ref().expect("kept");
            assert_eq!(long.addresses.len() as u64 + long.addresses_more, addresses as u64);
            assert_eq!(long.versions.len() as u64 + long.versions_earlier, versions as u64);
            assert_eq!(round.attempts.len() as u64 + round.attempts_more, attempts as u64);
            assert!(long.addresses.len() >= addresses.min(16), "{}", long.addresses.len());
            assert_eq!(long.versions.last().map(|v| v.version), Some(versions as u64 - 1), "the latest");
            let attempt = &round.attempts[0];
            assert_eq!(attempt.addresses.len() as u64 + attempt.addresses_more, 255);
        }
    }

    #[test]
    fn a_daemon_that_does_not_know_a_name_says_so() {
        assert_eq!(decode::<Response>(br#"{"explained":null}"#).expect("read"), Response::Explained(None));
        let newer = br#"{"explained":{"name":"a.","type":"A","mood":3,"next":{"tide":1}}}"#;
        let Ok(Response::Explained(Some(read))) = decode::<Response>(newer) else { panic!("not read") };
        assert_eq!((read.name.as_str(), read.rtype.as_str(), read.source), ("a.", "A", None));
    }
}
