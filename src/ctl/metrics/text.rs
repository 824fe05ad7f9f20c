//! The text of metrics: OpenMetrics 1.0, or the older format of Prometheus, which node_exporter and
//! promtool read.
//!
//! They differ in how counters and infos are headed, in units, and in the end. No crate writes both
//! from values that it does not keep itself: prometheus-client has OpenMetrics only, prometheus the
//! other only.

use super::catalogue::{Kind, Metric};
use std::fmt::{Display, Write as _};

/// A format of metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(in crate::ctl) enum Format {
    /// OpenMetrics 1.0.
    Openmetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Format {
    /// The media type, for HTTP.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Openmetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A text of metrics. Each metric is written once, with all its samples.
pub(super) struct Text {
    format: Format,
    text: String,
}

/// The samples of one metric.
pub(super) struct Samples<'t> {
    text: &'t mut Text,
    metric: &'static Metric,
    is_headed: bool,
}

impl Text {
    pub(super) fn new(format: Format) -> Text {
        Text { format, text: String::with_capacity(32 << 10) }
    }

    /// Begins a metric. Without a sample nothing is written of it.
    pub(super) fn metric(&mut self, metric: &'static Metric) -> Samples<'_> {
        Samples { text: self, metric, is_headed: false }
    }

    /// Writes a metric that has one sample without labels.
    pub(super) fn single(&mut self, metric: &'static Metric, value: impl Display) {
        self.metric(metric).add(&[], value);
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::Openmetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn head(&mut self, metric: &Metric) {
        let (suffix, kind) = (metric.kind.suffix(), metric.kind);
        let (name, word) = match (self.format, kind) {
            (Format::Openmetrics, _) => (metric.name.to_owned(), kind.word()),
            (Format::Prometheus, Kind::Info) => (format!("{}{suffix}", metric.name), "gauge"),
            (Format::Prometheus, _) => (format!("{}{suffix}", metric.name), kind.word()),
        };
        self.line(format_args!("# HELP {name} {}", metric.help));
        self.line(format_args!("# TYPE {name} {word}"));
        if let Some(unit) = metric.unit().filter(|_| self.format == Format::Openmetrics) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}

impl Samples<'_> {
    /// Writes a sample. `labels` are the values of the metric's labels, in their order.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Display) {
        self.head();
        self.sample(self.metric.kind.suffix(), labels, None, &value);
    }

    /// Writes a histogram: how many of its values are at most each bound in seconds, the number of
    /// those beyond the last bound, and the sum of all in seconds.
    pub(super) fn histogram(&mut self, labels: &[&str], buckets: &[(f64, u64)], beyond: u64, sum_s: f64) {
        self.head();
        let mut count = 0_u64;
        for (bound, more) in buckets {
            count = count.saturating_add(*more);
            self.sample("_bucket", labels, Some(&format!("{bound:?}")), &count);
        }
        count = count.saturating_add(beyond);
        self.sample("_bucket", labels, Some("+Inf"), &count);
        self.sample("_sum", labels, None, &sum_s);
        self.sample("_count", labels, None, &count);
    }

    fn head(&mut self) {
        if !self.is_headed {
            self.is_headed = true;
            self.text.head(self.metric);
        }
    }

    fn sample(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: &dyn Display) {
        assert_eq!(labels.len(), self.metric.labels.len(), "{}", self.metric.name);
        let named = self.metric.labels.iter().copied().zip(labels.iter().copied());
        let named: Vec<String> = named
            .chain(bound.map(|bound| ("le", bound)))
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let name = self.metric.name;
        if named.is_empty() {
            self.text.line(format_args!("{name}{suffix} {value}"));
        } else {
            self.text.line(format_args!("{name}{suffix}{{{}}} {value}", named.join(",")));
        }
    }
}

/// A value of a label. Backslash, quote and line feed are escaped in both formats; other control
/// characters are allowed, but shown by no tool as what they are.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push(char::REPLACEMENT_CHARACTER),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    static TIME: Metric =
        Metric { name: "a_time_seconds", kind: Kind::Histogram, labels: &["of"], help: "Times." };
    static COUNT: Metric = Metric { name: "a_count", kind: Kind::Counter, labels: &[], help: "A count." };
    static INFO: Metric = Metric { name: "an", kind: Kind::Info, labels: &["of"], help: "What it is." };

    fn written(format: Format) -> String {
        let mut text = Text::new(format);
        text.metric(&TIME).histogram(&["x"], &[(0.001, 2), (1.0, 3)], 4, 12.5);
        text.single(&COUNT, 7);
        text.metric(&INFO).add(&["a\"b\\c\nd\u{7}"], 1);
        let _nothing = text.metric(&COUNT);
        text.finish()
    }

    #[test]
    fn openmetrics_heads_the_family_and_ends() {
        assert_eq!(
            written(Format::Openmetrics),
            "# HELP a_time_seconds Times.\n# TYPE a_time_seconds histogram\n# UNIT a_time_seconds seconds\n\
             a_time_seconds_bucket{of=\"x\",le=\"0.001\"} 2\na_time_seconds_bucket{of=\"x\",le=\"1.0\"} 5\n\
             a_time_seconds_bucket{of=\"x\",le=\"+Inf\"} 9\na_time_seconds_sum{of=\"x\"} 12.5\n\
             a_time_seconds_count{of=\"x\"} 9\n# HELP a_count A count.\n# TYPE a_count counter\n\
             a_count_total 7\n# HELP an What it is.\n# TYPE an info\n\
             an_info{of=\"a\\\"b\\\\c\\nd\u{fffd}\"} 1\n# EOF\n"
        );
    }

    #[test]
    fn the_format_of_prometheus_heads_the_samples() {
        assert_eq!(
            written(Format::Prometheus),
            "# HELP a_time_seconds Times.\n# TYPE a_time_seconds histogram\n\
             a_time_seconds_bucket{of=\"x\",le=\"0.001\"} 2\na_time_seconds_bucket{of=\"x\",le=\"1.0\"} 5\n\
             a_time_seconds_bucket{of=\"x\",le=\"+Inf\"} 9\na_time_seconds_sum{of=\"x\"} 12.5\n\
             a_time_seconds_count{of=\"x\"} 9\n# HELP a_count_total A count.\n# TYPE a_count_total counter\n\
             a_count_total 7\n# HELP an_info What it is.\n# TYPE an_info gauge\n\
             an_info{of=\"a\\\"b\\\\c\\nd\u{fffd}\"} 1\n"
        );
    }

    #[test]
    fn every_metric_is_named_by_the_conventions() {
        for metric in super::super::catalogue::ALL {
            let name = metric.name;
            let plain = |word: &str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            assert!(name.starts_with("hither_") && plain(name), "{name}");
            assert!(
                !name.ends_with("_total") && !name.ends_with("_info") && !name.ends_with("_count"),
                "{name}"
            );
            assert!(metric.labels.iter().all(|label| plain(label) && *label != "le"), "{name}");
            assert!(metric.kind != Kind::Histogram || metric.unit().is_some(), "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\\', '"', '\n']), "{name}");
        }
    }
}
