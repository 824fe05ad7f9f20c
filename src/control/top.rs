//! What clients ask for now, as `hitherctl top` shows it. Missing fields are empty: the daemon may be of
//! another version.

use crate::fit::{cut, cut_text, fits};
use serde::{Deserialize, Serialize};

/// The names asked most, the units that ask, and the rounds that are open now.
///
/// The daemon begins to look at queries with the first [`crate::Request::Top`], and stops some seconds
/// after the last one. So the first report has no names.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopReport {
    /// The time that the numbers are from: what came within the last minute, at most.
    pub window_ms: u64,
    /// Queries in that time: an estimate, since hits are sampled.
    pub queries: u64,
    /// Those of them that needed a round. Not an estimate.
    pub misses: u64,
    /// The names asked most, the first one the most.
    pub names: Vec<TopName>,
    /// How many more are known, and were left out.
    pub names_more: u64,
    /// The units whose queries needed a round, the first one with the most. Only root and the daemon's
    /// user see units.
    pub units: Vec<TopUnit>,
    /// How many more units there are.
    pub units_more: u64,
    /// Why no units are shown, or why some are unknown; for the operator.
    pub units_unknown: Option<String>,
    /// The rounds that are open now, the oldest first.
    pub rounds: Vec<OpenRound>,
    /// How many more are open.
    pub rounds_more: u64,
}

/// A name, and how often it was asked for. All types count together.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopName {
    /// The name in presentation form.
    pub name: String,
    /// Queries for it: an estimate.
    pub queries: u64,
    /// By how much the estimate may be too high, besides the error of sampling: the name took the place
    /// of another one that had been asked for so often.
    pub error: u64,
    /// How many of the queries needed a round.
    pub misses: u64,
    /// Its share of all queries, in thousandths.
    pub permille: u32,
    /// The units whose queries for it needed a round, as in [`TopReport::units`].
    pub units: Vec<TopUnit>,
}

/// A unit of systemd, and its queries that needed a round.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopUnit {
    /// The name of the unit; the path of its control group if that belongs to no unit; empty: not known.
    pub unit: String,
    /// Its queries that needed a round. Hits are not looked up, and readers of the table never seen.
    pub misses: u64,
}

/// A round that is open.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenRound {
    /// The name of its question in presentation form.
    pub name: String,
    /// The mnemonic of its type.
    #[serde(rename = "type")]
    pub rtype: String,
    /// How long ago it began.
    pub age_ms: u64,
    /// How many clients wait for it. 0: they have their reply, or the round refreshes an entry.
    pub clients: u64,
    /// The upstreams that have been asked and have not answered yet.
    pub outstanding: Vec<String>,
}

/// The units that asked for a name lately, as far as the daemon has looked.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AskedBy {
    /// The units, the latest first.
    pub units: Vec<Asker>,
    /// Why none is known, or shown; for the operator.
    pub unknown: Option<String>,
}

/// A unit that asked for a name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asker {
    /// The unit, as in [`TopUnit::unit`].
    pub unit: String,
    /// How long ago it asked last.
    pub ago_ms: u64,
    /// How often it asked, of the queries that are remembered.
    pub queries: u64,
}

/// Lengths to which lists are cut, one after the other until the report fits.
const STEPS: [usize; 6] = [128, 64, 32, 16, 4, 0];
/// Octets of a unit's or an upstream's name that are shown, if the report would be too long.
const TEXT_MAX: usize = 100;

impl TopReport {
    /// Shortens the report until it fits into a message. What is left out is counted.
    #[must_use]
    pub fn fitting(mut self) -> TopReport {
        if !fits(&self) {
            self.cut_texts();
        }
        for most in STEPS {
            if fits(&self) {
                return self;
            }
            self.rounds_more += cut(&mut self.rounds, most);
            self.units_more += cut(&mut self.units, most);
            self.names_more += cut(&mut self.names, most);
            self.rounds.iter_mut().for_each(|round| round.outstanding.truncate(most));
        }
        self
    }

    fn cut_texts(&mut self) {
        let of_names = self.names.iter_mut().flat_map(|name| &mut name.units);
        let units = self.units.iter_mut().chain(of_names).map(|unit| &mut unit.unit);
        let upstreams = self.rounds.iter_mut().flat_map(|round| &mut round.outstanding);
        units.chain(upstreams).for_each(|text| cut_text(text, TEXT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Request, Response, decode, encode};

    fn report(names: usize, rounds: usize) -> TopReport {
        let unit = TopUnit { unit: "\u{1}".repeat(300), misses: u64::MAX };
        let name = TopName { name: "\\255".repeat(255), units: vec![unit.clone(); 4], ..TopName::default() };
        let round = OpenRound {
            name: "\\255".repeat(255),
            outstanding: vec!["tls://dns.example".to_owned(); 64],
            ..OpenRound::default()
        };
        TopReport {
            names: vec![name; names],
            units: vec![unit; names],
            rounds: vec![round; rounds],
            ..TopReport::default()
        }
    }

    #[test]
    fn a_report_of_any_size_fits_and_what_is_left_out_is_counted() {
        let small = report(3, 2);
        assert_eq!(small.clone().fitting(), small, "what fits stays as it is");
        for (names, rounds) in [(512, 2000), (512, 0), (0, 2000), (20, 200)] {
            let long = report(names, rounds).fitting();
            let response = Response::Top(Box::new(long.clone()));
            assert_eq!(decode::<Response>(&encode(&response).expect("it fits")).expect("ours"), response);
            assert_eq!(long.names.len() as u64 + long.names_more, names as u64);
            assert_eq!(long.units.len() as u64 + long.units_more, names as u64);
            assert_eq!(long.rounds.len() as u64 + long.rounds_more, rounds as u64);
            assert!(long.names.len() >= names.min(4) && long.rounds.len() >= rounds.min(4));
        }
    }

    #[test]
    fn the_request_has_no_fields_and_a_newer_report_is_read() {
        assert_eq!(encode(&Request::Top {}).expect("short"), br#"{"top":{}}"#);
        assert!(decode::<Request>(br#"{"top":{"all":true}}"#).is_err());
        let newer = br#"{"top":{"queries":7,"mood":1,"rounds":[{"name":"a.","type":"A","tide":2}]}}"#;
        let Ok(Response::Top(read)) = decode::<Response>(newer) else { panic!("not read") };
        assert_eq!((read.queries, read.rounds[0].rtype.as_str(), read.names.len()), (7, "A", 0));
    }
}
