//! `explain`: all that the daemon and the sorter know of a name, as one page or as JSON.

mod askers;
mod page;

pub(super) use page::clean;

use super::ask::{TIMEOUT, ask, unexpected};
use super::{Context, End, entry, remark};
use hither_client::{Family, Name};
use hither_control::{Explanation, Request, Response, SetReport};
use serde_json::{Value, json};
use std::io::Write;

pub(super) fn explain(
    context: &Context,
    out: &mut impl Write,
    name: &Name,
    family: Option<Family>,
) -> Result<End, End> {
    let families = family.map_or_else(|| vec![Family::A, Family::Aaaa], |family| vec![family]);
    let all = gathered(context, name, &families)?;
    if context.json {
        for explanation in &all {
            writeln!(out, "{}", as_json(explanation)?)?;
        }
    } else {
        write!(out, "{}", pages(&all))?;
    }
    let is_denied = |set: &SetReport| set.negative.is_some();
    Ok(match all.as_slice() {
        [] => {
            remark(&format!("nothing is known of {name}; 'hitherctl query {name}' asks for it"));
            End::NotInTheTable
        }
        all if all.iter().all(|known| known.set.as_ref().is_some_and(is_denied)) => End::DoesNotExist,
        _ => End::Done,
    })
}

/// What is known of a name, as one text.
pub(super) fn text(context: &Context, name: &Name) -> Result<String, End> {
    let all = gathered(context, name, &[Family::A, Family::Aaaa])?;
    let unknown = || format!("nothing is known of {name}\n");
    Ok(if all.is_empty() { unknown() } else { pages(&all) })
}

fn gathered(context: &Context, name: &Name, families: &[Family]) -> Result<Vec<Explanation>, End> {
    let mut all = Vec::new();
    for family in families {
        let request = Request::Explain { name: name.to_string(), rtype: entry::rtype(*family).to_owned() };
        match ask(context, &request, TIMEOUT)? {
            Response::Explained(explanation) => all.extend(explanation.map(|known| *known)),
            _ => return Err(unexpected()),
        }
    }
    Ok(all)
}

fn pages(all: &[Explanation]) -> String {
    all.iter().map(page::page).collect::<Vec<_>>().join("\n")
}

/// The explanation as JSON. What the sorter knows of an address stands beside what the daemon knows.
fn as_json(explanation: &Explanation) -> Result<Value, End> {
    let mut value = serde_json::to_value(explanation).map_err(|error| End::Failed(error.to_string()))?;
    for address in value["addresses"].as_array_mut().into_iter().flatten() {
        let Some(fields) = address.as_object_mut() else { continue };
        let mut said = fields.remove("sorter").unwrap_or_default();
        let empty = [
            ("probes", json!([])),
            ("samples", json!(0)),
            ("passed_over", Value::Null),
            ("next_in_ms", Value::Null),
            ("certificate", Value::Null),
        ];
        for (key, missing) in empty {
            let known = said.get_mut(key).map(Value::take);
            fields.insert(key.to_owned(), known.unwrap_or(missing));
        }
    }
    Ok(value)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use hither_control::{
        AddressProbes, AddressReport, AttemptReport, CertificateReport, ProbeReport, RefusalReport,
        RoundReport, SourceKind, VersionReport,
    };
    use std::net::IpAddr;

    pub fn known() -> Explanation {
        let certificate = CertificateReport {
            verdict: "other_name".to_owned(),
            names: vec!["evil\u{1b}[2J.example".to_owned()],
            names_more: 3,
            not_after: Some("2027-01-01T00:00:00Z".to_owned()),
            ..CertificateReport::default()
        };
        let probe = ProbeReport {
            method: "icmp".into(),
            sent: 16,
            answered: 14,
            rtt_us: Some(8120),
            ..ProbeReport::default()
        };
        let said = AddressProbes {
            probes: vec![probe],
            samples: 5,
            certificate: Some(certificate),
            ..AddressProbes::of(IpAddr::from([192, 0, 2, 1]))
        };
        let address = AddressReport {
            address: "192.0.2.1".to_owned(),
            position: 1,
            why: "the only confirmed address".to_owned(),
            sorter: Some(said),
            ..AddressReport::default()
        };
        let refusal = RefusalReport { why: "late".to_owned(), count: 2, ..RefusalReport::default() };
        let attempt = AttemptReport { refused: vec![refusal], ..AttemptReport::default() };
        Explanation {
            name: "www.example.com.".to_owned(),
            rtype: "A".to_owned(),
            source: Some(SourceKind::Cache),
            versions: vec![VersionReport { cause: "merged".to_owned(), ..VersionReport::default() }],
            versions_earlier: 2,
            round: Some(RoundReport { attempts: vec![attempt], ..RoundReport::default() }),
            addresses: vec![address],
            ..Explanation::default()
        }
    }

    #[test]
    fn in_json_the_probes_of_an_address_are_a_list_beside_its_place() {
        let Ok(value) = as_json(&known()) else { panic!("it can be written") };
        let address = &value["addresses"][0];
        assert_eq!(address["probes"][0]["method"], "icmp");
        assert_eq!((&address["samples"], &address["certificate"]["names_more"]), (&json!(5), &json!(3)));
        assert!(address.get("sorter").is_none() && address["passed_over"].is_null());
        let mut silent = known();
        silent.addresses[0].sorter = None;
        let Ok(value) = as_json(&silent) else { panic!("it can be written") };
        assert_eq!(value["addresses"][0]["probes"], json!([]));
        for key in ["name", "type", "versions", "round", "addresses", "next"] {
            assert!(value.get(key).is_some(), "{key}");
        }
    }
}
