//! What the sorter knows of the addresses of a set. Between the sorter and the daemon these messages are
//! strict, as all of theirs.

use crate::fit::{cut, cut_text, fits};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Addresses for which one answer of the sorter has space.
const ADDRESSES_MAX: usize = 64;
/// Probes of one address: one for each method.
const PROBES_MAX: usize = 8;
/// Names of one certificate.
const NAMES_MAX: usize = 8;
/// Octets of one text.
const TEXT_MAX: usize = 255;

/// The daemon asks the sorter about the addresses of a set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The number by which the daemon finds the explanation that waits for the answer.
    pub id: u64,
    /// The name in presentation form.
    pub name: String,
    /// The mnemonic `A` or `AAAA`.
    pub rtype: String,
    /// The addresses in the order of the set.
    pub addresses: Vec<IpAddr>,
}

/// What the sorter answers to that.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// The number of the request; an answer to one that no longer waits is dropped.
    pub id: u64,
    /// The addresses of which something is known, at most the first 64.
    pub addresses: Vec<AddressProbes>,
}

/// What the sorter knows of one address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressProbes {
    /// The address, whichever names have it.
    pub address: IpAddr,
    /// The latest probes, one for each method that was tried.
    pub probes: Vec<ProbeReport>,
    /// Round-trip times of which the median counts.
    pub samples: u8,
    /// Why it is not probed; `None` if it is.
    pub passed_over: Option<String>,
    /// Until its next sample; `None` if none is planned.
    pub next_in_ms: Option<u64>,
    /// The verdict on its certificate for the name; `None` if there is none.
    pub certificate: Option<CertificateReport>,
}

/// The probes of an address by one method.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeReport {
    /// The method as `sort.probes` writes it.
    pub method: String,
    /// Probes that were sent.
    pub sent: u32,
    /// Probes that were answered.
    pub answered: u32,
    /// The result of the latest one: `answered`, `refused`, `silent` or `not_sent`.
    pub result: String,
    /// The round-trip time of the latest answer.
    pub rtt_us: Option<u32>,
    /// How long ago the latest probe ended.
    pub ago_ms: u64,
}

/// The verdict on the certificate of an address for one name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateReport {
    /// The verdict, one word.
    pub verdict: String,
    /// Names in the certificate, at most eight.
    pub names: Vec<String>,
    /// How many names are not listed.
    pub names_more: u64,
    /// The first date of validity, as a date and time of UTC.
    pub not_before: Option<String>,
    /// The last date of validity.
    pub not_after: Option<String>,
    /// What is wrong, for the operator.
    pub problem: Option<String>,
    /// How long ago it was judged.
    pub ago_ms: u64,
    /// Until it is looked at again; `None` if that is not planned.
    pub renewal_in_ms: Option<u64>,
}

impl Explained {
    /// Cuts everything to the bounds of a message: neither the sorter nor what it saw decides how long
    /// one is.
    #[must_use]
    pub fn fitting(mut self) -> Explained {
        self.addresses.iter_mut().for_each(AddressProbes::shorten);
        for most in [ADDRESSES_MAX, 16, 4, 1, 0] {
            cut(&mut self.addresses, most);
            if fits(&self) {
                break;
            }
        }
        self
    }
}

impl AddressProbes {
    /// An address of which nothing is known but why.
    #[must_use]
    pub fn of(address: IpAddr) -> AddressProbes {
        AddressProbes {
            address,
            probes: Vec::new(),
            samples: 0,
            passed_over: None,
            next_in_ms: None,
            certificate: None,
        }
    }

    fn shorten(&mut self) {
        self.probes.truncate(PROBES_MAX);
        let texts = self.probes.iter_mut().flat_map(|probe| [&mut probe.method, &mut probe.result]);
        texts.chain(&mut self.passed_over).for_each(|text| cut_text(text, TEXT_MAX));
        if let Some(certificate) = &mut self.certificate {
            let more = cut(&mut certificate.names, NAMES_MAX);
            certificate.names_more = certificate.names_more.saturating_add(more);
            let dates = [&mut certificate.not_before, &mut certificate.not_after];
            let texts = dates.into_iter().chain([&mut certificate.problem]).flatten();
            let texts = texts.chain(&mut certificate.names).chain([&mut certificate.verdict]);
            texts.for_each(|text| cut_text(text, TEXT_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SorterMessage, SorterReply, decode, encode};

    #[test]
    fn the_largest_request_fits_and_so_does_any_answer_that_is_cut() {
        let address = |end: u8| {
            IpAddr::from([[0xfd; 15].as_slice(), &[end]].concat().first_chunk().copied().unwrap_or([0; 16]))
        };
        let request = Explain {
            id: u64::MAX,
            name: "\\255".repeat(255),
            rtype: "AAAA".to_owned(),
            addresses: (0..=254).map(address).collect(),
        };
        let octets = encode(&SorterReply::Explain(request.clone())).expect("it fits");
        assert_eq!(decode::<SorterReply>(&octets).expect("ours"), SorterReply::Explain(request));
        let text = "\u{1}\u{20ac}".repeat(999);
        let probe = ProbeReport { method: text.clone(), result: text.clone(), ..ProbeReport::default() };
        let certificate = CertificateReport {
            names: vec![text.clone(); 99],
            problem: Some(text.clone()),
            not_after: Some(text.clone()),
            ..CertificateReport::default()
        };
        let of = |end| AddressProbes {
            probes: vec![probe.clone(); 99],
            passed_over: Some(text.clone()),
            certificate: Some(certificate.clone()),
            ..AddressProbes::of(address(end))
        };
        let long = Explained { id: 7, addresses: (0..=254).map(of).collect() }.fitting();
        assert!(!long.addresses.is_empty() && encode(&SorterMessage::Explained(long.clone())).is_ok());
        let first = &long.addresses[0];
        let certificate = first.certificate.as_ref().expect("kept");
        assert_eq!((first.probes.len(), certificate.names.len(), certificate.names_more), (8, 8, 91));
        let small = Explained { id: 7, addresses: (0..60).map(address).map(AddressProbes::of).collect() };
        assert_eq!(small.clone().fitting(), small, "what fits stays as it is");
    }
}
