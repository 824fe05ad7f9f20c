//! The figures: one a line in a file, and tables of medians and of ratios within a round.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;

pub struct Report {
    file: File,
    /// For each rig, metric and peer, the values with their rounds.
    all: Vec<(String, String, String, usize, f64)>,
}

impl Report {
    pub fn new(path: &std::path::Path) -> Report {
        let mut file = File::create(path).expect("writable");
        writeln!(file, "rig\tpeer\tmetric\tvalue\tunit\tround").expect("writable");
        Report { file, all: Vec::new() }
    }

    pub fn add(&mut self, rig: &str, peer: &str, round: usize, figures: &[(&str, f64, &str)]) {
        for (metric, value, unit) in figures {
            writeln!(self.file, "{rig}\t{peer}\t{metric}\t{value:.4}\t{unit}\t{round}").expect("writable");
            let metric = format!("{metric}, {unit}");
            self.all.push((rig.to_owned(), metric, peer.to_owned(), round, *value));
        }
    }

    /// Prints one row a peer: the median of each metric, and in brackets the median of its ratio to
    /// `reference` in the same round.
    pub fn table(&self, rig: &str, reference: &str) {
        let mut metrics: Vec<&str> = Vec::new();
        let mut peers: Vec<&str> = Vec::new();
        let mut values: BTreeMap<(&str, &str), BTreeMap<usize, f64>> = BTreeMap::new();
        for (_, metric, peer, round, value) in self.all.iter().filter(|one| one.0 == rig) {
            if !metrics.contains(&metric.as_str()) {
                metrics.push(metric);
            }
            if !peers.contains(&peer.as_str()) {
                peers.push(peer);
            }
            values.entry((peer, metric)).or_default().insert(*round, *value);
        }
        println!("\n| {rig} | {} |\n|{}", metrics.join(" | "), "---|".repeat(metrics.len() + 1));
        for peer in peers {
            let cells = metrics.iter().map(|metric| {
                let Some(own) = values.get(&(peer, *metric)) else { return String::from("-") };
                let cell = number(median(own.values().copied().collect()));
                let ratios: Vec<f64> = values.get(&(reference, *metric)).map_or(Vec::new(), |base| {
                    own.iter().filter_map(|(round, value)| Some(value / base.get(round)?)).collect()
                });
                if ratios.is_empty() { cell } else { format!("{cell} ({:.2})", median(ratios)) }
            });
            println!("| {peer} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
