//! Encrypted upstreams: their queries leave by no other transport and show no more than they must, and the
//! wait for a connection is no part of a round-trip time.

use super::Oracle;
use hither_rounds::{AttemptId, Server, Transport, UpstreamReport};
use hither_table::Monotonic;
use hither_wire::query::Query;
use std::collections::BTreeMap;
use std::time::Duration;

/// The option code of padding (RFC 7830).
const PADDING: u16 = 12;

/// The queries to encrypted upstreams.
#[derive(Default)]
pub(super) struct Transports {
    /// Outstanding attempts: the upstream, and when the query left.
    left: BTreeMap<AttemptId, (Server, Monotonic)>,
    /// The longest time since a query to each upstream had left, when it was answered or given up.
    longest: BTreeMap<Server, Duration>,
}

impl Oracle {
    /// Judges a query that leaves.
    pub fn leaves(
        &mut self,
        now: Monotonic,
        attempt: AttemptId,
        (server, transport): (Server, Transport),
        octets: &[u8],
    ) {
        if !server.transport.is_encrypted() {
            assert!(!transport.is_encrypted(), "{attempt:?} to a plain upstream leaves over {transport:?}");
            return;
        }
        assert_eq!(
            transport, server.transport,
            "{attempt:?} leaves by another transport than its upstream's"
        );
        let read = Query::read(octets).expect("a query");
        assert_eq!(octets.len() % 128, 0, "{attempt:?} is not padded");
        let options = read.edns().map(|edns| edns.options().map(|(code, _)| code).collect::<Vec<_>>());
        assert_eq!(options, Some(vec![PADDING]), "{attempt:?} shows more than padding");
        assert_eq!(read.qname(), read.name_lower().as_wire(), "{attempt:?} has another letter case");
        self.transports.left.insert(attempt, (server, now));
    }

    /// Notes that a query which waited for a connection leaves.
    pub fn transmitted(&mut self, now: Monotonic, attempt: AttemptId) {
        self.transports.left.entry(attempt).and_modify(|(_, left)| *left = now);
    }

    /// Notes a response to an encrypted attempt, or its end.
    pub(super) fn took(&mut self, now: Monotonic, attempt: AttemptId) {
        let Some((server, left)) = self.transports.left.get(&attempt) else { return };
        let longest = self.transports.longest.entry(*server).or_default();
        *longest = (*longest).max(now.since(*left));
    }

    /// Notes the end of an attempt.
    pub(super) fn has_ended(&mut self, now: Monotonic, attempt: AttemptId) {
        self.took(now, attempt);
        self.transports.left.remove(&attempt);
    }

    /// Judges that an attempt may be retransmitted: it is no encrypted one.
    pub(super) fn judge_resent(&self, attempt: AttemptId) {
        assert!(!self.transports.left.contains_key(&attempt), "an encrypted query is retransmitted");
    }

    /// Judges that no encrypted upstream is thought to be slower than its slowest response was.
    pub fn judge_times(&self, reports: &[UpstreamReport]) {
        for report in reports.iter().filter(|report| report.server.transport.is_encrypted()) {
            let longest = self.transports.longest.get(&report.server).copied().unwrap_or_default();
            let learned = Duration::from_micros(report.srtt_us.unwrap_or(0));
            assert!(
                learned <= longest,
                "{:?} counts as round-trip time, and no query waited longer than {longest:?} once it had left",
                learned
            );
        }
    }
}
