//! Quantiles, medians and sums.

use super::host::Host;
use serde_json::Value;
use std::collections::BTreeMap;

/// Times in microseconds, of which quantiles are wanted.
#[derive(Default, Clone)]
pub struct Times(Vec<u32>);

impl Times {
    pub fn add(&mut self, time: std::time::Duration) {
        self.0.push(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many are below this.
    pub fn below(&self, us: u32) -> usize {
        self.0.iter().filter(|time| **time < us).count()
    }

    /// The first ones.
    pub fn first(&self, count: usize) -> Times {
        Times(self.0.iter().copied().take(count).collect())
    }

    /// Those from this on.
    pub fn from(&self, us: u32) -> Times {
        Times(self.0.iter().copied().filter(|time| *time >= us).collect())
    }

    /// Those below this.
    pub fn until(&self, us: u32) -> Times {
        Times(self.0.iter().copied().filter(|time| *time < us).collect())
    }

    /// In milliseconds.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((last as f64 * q).round() as usize).map_or(f64::NAN, |us| f64::from(*us) / 1e3)
    }

    pub fn shown(&self) -> String {
        let [half, most, rare] = [0.5, 0.99, 0.999].map(|q| self.quantile(q));
        format!("{} of them, p50 {half:.3} ms, p99 {most:.3} ms, p99.9 {rare:.3} ms", self.count())
    }
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The sums of all numbers of these objects, also of those within.
fn add_up(value: &Value, path: &str, sums: &mut BTreeMap<String, u64>) {
    let Some(object) = value.as_object() else { return };
    for (key, value) in object {
        let path = format!("{path}{key}");
        match value.as_u64() {
            Some(number) => *sums.entry(path).or_default() += number,
            None => add_up(value, &format!("{path}."), sums),
        }
    }
}

/// What all hosts count of the site.
pub fn of_all(hosts: &[Host]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for host in hosts {
        add_up(&host.json("stats"), "", &mut sums);
        add_up(&host.json("status")["site"], "companion.", &mut sums);
    }
    let wanted = ["queries", "hits", "misses", "prefetches", "rounds_started", "publishes", "evictions"];
    sums.retain(|key, sum| {
        let is_ours = key.starts_with("site_") || key.starts_with("companion.") && !key.ends_with("pid");
        *sum > 0 && (is_ours || wanted.contains(&key.as_str()))
    });
    sums
}
