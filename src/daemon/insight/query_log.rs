//! The log of queries (`log.queries`): one entry for each, up to a number in a second.

use super::notes::Replied;
use crate::daemon::clients::tap::LOGGED_PER_SECOND_MAX;
use crate::logging::{self, Event};
use hither_table::Monotonic;
use hither_wire::codes::Rcode;

/// The log of queries, and what it has left out.
#[derive(Debug, Default)]
pub(super) struct QueryLog {
    second: u64,
    written: u32,
    left_out: u64,
}

impl QueryLog {
    /// Writes the entry of a reply, unless too many were written in this second.
    pub fn write(&mut self, replied: &Replied, unit: Option<&str>, now: Monotonic) {
        self.on_time(now);
        if self.written >= LOGGED_PER_SECOND_MAX {
            self.left_out += 1;
            return;
        }
        self.written += 1;
        let Replied { name, rtype, client, source, upstream, rcode, took, left_out: _ } = replied;
        let rcode = Rcode(*rcode);
        let by = upstream.as_deref().map(|upstream| format!(" {upstream}")).unwrap_or_default();
        let of = unit.map(|unit| format!(" of {unit}")).unwrap_or_default();
        let line = format!(
            "{}{of} asked for {name} {rtype}: {rcode} from {source}{by} in {:.1} ms",
            client.address,
            took.as_secs_f64() * 1000.0
        );
        let fields = [
            ("NAME", Some(name.to_string())),
            ("TYPE", Some(rtype.to_string())),
            ("CLIENT", Some(client.address.ip().to_canonical().to_string())),
            ("PORT", Some(client.address.port().to_string())),
            ("PROTOCOL", Some(if client.is_tcp { "tcp" } else { "udp" }.to_owned())),
            ("UNIT", unit.map(ToOwned::to_owned)),
            ("SOURCE", Some(source.to_string())),
            ("UPSTREAM", upstream.clone()),
            ("RCODE", Some(rcode.to_string())),
            ("TIME_US", Some(took.as_micros().to_string())),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
        logging::write_with_consent(Event::Query, &line, fields);
    }

    /// Whether it has left something out, and has not said so yet.
    pub fn is_behind(&self) -> bool {
        self.left_out > 0
    }

    /// Counts queries that were left out before they came here.
    pub fn leave_out(&mut self, queries: u64) {
        self.left_out += queries;
    }

    /// Says how many queries were left out, when their second is over.
    pub fn on_time(&mut self, now: Monotonic) {
        let second = now.as_ms() / 1000;
        if second > self.second {
            (self.second, self.written) = (second, 0);
            self.end();
        }
    }

    /// Says how many queries were left out.
    pub fn end(&mut self) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let line = format!(
                "{left_out} queries were left out of the log, which has {LOGGED_PER_SECOND_MAX} a second at most"
            );
            let fields = [("QUERIES", left_out.to_string())].into_iter();
            logging::write_with_consent(Event::QueriesLeftOut, &line, fields);
        }
    }
}
