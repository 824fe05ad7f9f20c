//! The metrics: name, type, labels and help of each, as hither-metrics(7) describes them.
//!
//! Names are those of Prometheus' conventions: base units at the end, `_total` for counters, and labels
//! only where the sum over them means something.

use hither_client::Counter;

/// The type of a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Only grows while the table exists.
    Counter,
    /// A level.
    Gauge,
    /// Times by upper bounds, with their sum and number.
    Histogram,
    /// Always 1; the labels are what it says.
    Info,
}

impl Kind {
    /// The type as OpenMetrics writes it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }

    /// The end of the name of its samples.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Gauge | Self::Histogram => "",
            Self::Info => "_info",
        }
    }
}

/// A metric: a family of samples in the words of OpenMetrics.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Metric {
    /// The name without the suffix of its type.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The names of the labels, in the order in which values are given.
    pub(super) labels: &'static [&'static str],
    /// One sentence without quotes, backslashes and line breaks, hence nothing to escape.
    pub(super) help: &'static str,
}

impl Metric {
    /// The base unit in which the name ends, if it has one.
    pub(super) fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes", "ratio"]
            .into_iter()
            .find(|unit| self.name.strip_suffix(unit).is_some_and(|before| before.ends_with('_')))
    }

    /// The name of the samples, with type, unit and labels, as hither-metrics(7) has them above its
    /// description.
    pub(super) fn heading(&self) -> String {
        let unit = self.unit().map_or_else(String::new, |unit| format!(", {unit}"));
        let labels =
            if self.labels.is_empty() { String::new() } else { format!("; {}", self.labels.join(", ")) };
        format!("{}{} ({}{unit}{labels})", self.name, self.kind.suffix(), self.kind.word())
    }
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $constant: Metric =
            Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };)*

        /// All metrics.
        pub(super) static ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    BUILD: Info "hither_build" ["version"]
        "The version of the hitherctl that printed this.";
    UP: Gauge "hither_up" []
        "Whether hitherd runs and goes on: 0 if it has stopped, died or hangs.";
    SIGN_OF_LIFE: Gauge "hither_sign_of_life_age_seconds" []
        "Time since the event loop of hitherd last woke up; it sleeps when there is nothing to do.";
    OVERDUE: Gauge "hither_overdue_seconds" []
        "For how long the event loop has been at work without a pause, or has not woken up although it was time.";
    UPTIME: Gauge "hither_uptime_seconds" []
        "Time since hitherd was started; missing while hither_up is 0.";
    QUERIES: Counter "hither_queries" []
        "Messages received from clients.";
    REPLIES: Counter "hither_replies" []
        "Messages sent to clients.";
    LOOKUPS: Counter "hither_lookups" ["result"]
        "Queries looked up in the cache, by whether it had the answer (hit) or a round was needed (miss).";
    ANSWER: Histogram "hither_answer_seconds" ["source"]
        "Time from a query to its reply, by the source of the answer.";
    STALE: Counter "hither_stale_replies" []
        "Clients answered with expired data.";
    LOCAL: Counter "hither_local_answers" []
        "Queries answered by hither itself: special-use names, hosts files, block lists.";
    BLOCKED: Counter "hither_blocked_queries" []
        "Queries that a block list denied; they are among the local answers.";
    REFUSED: Counter "hither_refused_queries" ["reason"]
        "Queries that were not looked up: malformed, from a network that may not ask, beyond a limit, or hither's own.";
    LIMITED: Counter "hither_limited_replies" []
        "Replies to other hosts that were dropped or truncated since too many were alike.";
    FAMILIES_WITHHELD: Counter "hither_withheld_families" []
        "Replies without the addresses of a family, since the other one is better.";
    RESTORED: Counter "hither_restored_hits" []
        "Hits whose data was restored from before the last boot, and not renewed since.";
    TCP_CLIENTS: Gauge "hither_tcp_clients" []
        "TCP connections of clients now.";
    TCP_DROPPED: Counter "hither_tcp_clients_closed" []
        "TCP connections closed in favour of others, or since their clients were too slow.";
    WORKER_QUERIES: Counter "hither_worker_queries" ["worker"]
        "Messages received from clients by the event loop (worker 0) and by each worker.";
    WORKER_LOOKUPS: Counter "hither_worker_lookups" ["worker", "result"]
        "Queries that the event loop or a worker looked up, by whether the cache had the answer.";
    WORKER_RUNNING: Gauge "hither_worker_running" ["worker"]
        "Whether the event loop or a worker runs.";
    ROUNDS_STARTED: Counter "hither_rounds_started" []
        "Rounds that began.";
    ROUNDS_ENDED: Counter "hither_rounds_ended" ["outcome"]
        "Rounds that ended: after every upstream responded or failed, at their deadline, or superseded.";
    ROUNDS_LIVE: Gauge "hither_rounds_live" []
        "Rounds that are live now.";
    ROUND: Histogram "hither_round_seconds" ["outcome"]
        "Time from the beginning of a round to its end.";
    REFRESHES: Counter "hither_refreshes" []
        "Rounds that began because an entry was about to expire.";
    ATTEMPTS: Counter "hither_attempts" []
        "Queries sent to upstreams.";
    OUTSTANDING: Gauge "hither_attempts_outstanding" []
        "Queries to upstreams that have no response yet.";
    DROPPED: Counter "hither_dropped_responses" ["reason"]
        "Responses that were not used: after the end of their attempt, or not matching its query.";
    FORGERIES: Counter "hither_suspected_forgeries" []
        "Attempts that received a datagram which may be forged.";
    PRIVATE: Counter "hither_withheld_private_answers" []
        "Answers with private addresses for a public name, which were withheld.";
    LEFT_OUT: Counter "hither_left_out_addresses" []
        "Extra addresses that did not fit a reply or expired too soon.";
    UPSTREAM_UP: Gauge "hither_upstream_up" ["upstream", "transport"]
        "Whether an upstream is in use: 0 while it is down or on trial.";
    UPSTREAM_STATE: Gauge "hither_upstream_state" ["upstream", "transport", "state"]
        "1 for the state that an upstream is in, 0 for the others.";
    UPSTREAM_QUERIES: Counter "hither_upstream_queries" ["upstream", "transport"]
        "Queries sent to an upstream.";
    UPSTREAM_RESPONSES: Counter "hither_upstream_responses" ["upstream", "transport"]
        "Responses of an upstream, errors included.";
    UPSTREAM_TIME: Histogram "hither_upstream_response_seconds" ["upstream", "transport"]
        "Time from a query to the response of an upstream.";
    UPSTREAM_FAILURES: Counter "hither_upstream_failures" ["upstream", "transport", "reason"]
        "Attempts without a useful response, by the reason.";
    UPSTREAM_SRTT: Gauge "hither_upstream_round_trip_seconds" ["upstream", "transport"]
        "Smoothed round-trip time of an upstream.";
    UPSTREAM_HANDSHAKES: Counter "hither_upstream_handshakes" ["upstream", "transport", "kind"]
        "Handshakes of an encrypted upstream, full or resumed.";
    UPSTREAM_EXPIRY: Gauge "hither_upstream_certificate_expiry_timestamp_seconds" ["upstream", "transport"]
        "When the certificate of an encrypted upstream expires, in seconds since 1970.";
    SORTER_CONNECTED: Gauge "hither_sorter_connected" []
        "Whether hither-sorter is connected to hitherd.";
    SORTER_PROBES: Counter "hither_sorter_probes" ["method", "outcome"]
        "Probes of the sorter, by method and outcome.";
    SORTER_VERDICTS: Counter "hither_sorter_verdicts" ["verdict"]
        "Certificates that the sorter has judged, by the verdict.";
    ORDERS: Counter "hither_orders" ["result"]
        "Orders of the sorter, by whether they were applied.";
    FIRST_ORDER: Histogram "hither_first_order_seconds" []
        "Time from the publish of a new set of addresses to its first order by the sorter.";
    ENTRIES: Gauge "hither_entries" []
        "Entries in the table and the answer cache now.";
    EVICTIONS: Counter "hither_evictions" []
        "Entries that were evicted for others.";
    PUBLISHES: Counter "hither_publishes" []
        "Versions of address sets that were published.";
    TABLE: Info "hither_table" ["abi", "generation"]
        "The ABI of the table, and the number that tells it from every other table.";
    TABLE_NAMES: Gauge "hither_table_names" []
        "Names in the table now.";
    TABLE_CAPACITY: Gauge "hither_table_capacity_names" []
        "Names that the table can hold.";
    TABLE_SIZE: Gauge "hither_table_size_bytes" []
        "The size of the table's file.";
    TABLE_VERSION: Gauge "hither_table_version" []
        "The last version that was published; it only grows, also over restarts.";
    HINTS: Counter "hither_hints" []
        "Hints of readers that they still use an entry which is about to expire.";
    HINTS_DROPPED: Counter "hither_dropped_hints" []
        "Hints that were malformed, or exceeded what one user may send.";
    FEED_SUBSCRIBERS: Gauge "hither_feed_subscribers" []
        "Programs that are subscribed to changes now.";
    FEED_NAMES: Gauge "hither_feed_names" []
        "Names that programs are subscribed to now; one that two programs have counts twice.";
    FEED_RECORDS: Counter "hither_feed_records" ["kind"]
        "Records that were sent to subscribers: changes, and gaps of those that did not read in time.";
    FEED_REFRESHES: Counter "hither_feed_refreshes" []
        "Rounds that began because a program is subscribed to the name.";
    CONTROL_ERRORS: Counter "hither_control_errors" []
        "Messages of the sorter or of operators that could not be read.";
    NETWORK_CHANGES: Counter "hither_network_changes" []
        "Changes of the network, including resumption after sleep.";
    DNSTAP_DROPPED: Counter "hither_dnstap_dropped" []
        "Messages that the dnstap collector did not get: it was away or slow.";
    SITE_OFFERS: Counter "hither_site_offers" []
        "Sets that other hosts of the site offered.";
    SITE_JUDGED: Counter "hither_site_judged" ["outcome"]
        "Offered sets by what was done with them.";
    SITE_ASKS: Counter "hither_site_asks" []
        "Questions that the site was asked.";
    SITE_ANSWERED: Counter "hither_site_answered" ["outcome"]
        "Questions that the site was asked, by whether it answered in time.";
    SITE_HITS: Counter "hither_site_hits" []
        "Hits whose data another host of the site has learned.";
}

/// The metric of a counter, and the values of its labels.
pub(super) fn place(counter: Counter) -> (&'static Metric, &'static [&'static str]) {
    match counter {
        Counter::Queries => (&QUERIES, &[]),
        Counter::Replies => (&REPLIES, &[]),
        Counter::Hits => (&LOOKUPS, &["hit"]),
        Counter::Misses => (&LOOKUPS, &["miss"]),
        Counter::StaleServed => (&STALE, &[]),
        Counter::RoundsStarted => (&ROUNDS_STARTED, &[]),
        Counter::RoundsComplete => (&ROUNDS_ENDED, &["complete"]),
        Counter::RoundsPartial => (&ROUNDS_ENDED, &["partial"]),
        Counter::RoundsSuperseded => (&ROUNDS_ENDED, &["superseded"]),
        Counter::RoundsLive => (&ROUNDS_LIVE, &[]),
        Counter::Attempts => (&ATTEMPTS, &[]),
        Counter::AttemptsOutstanding => (&OUTSTANDING, &[]),
        Counter::LateResponsesDropped => (&DROPPED, &["late"]),
        Counter::MismatchedResponsesDropped => (&DROPPED, &["mismatched"]),
        Counter::Publishes => (&PUBLISHES, &[]),
        Counter::OrdersApplied => (&ORDERS, &["applied"]),
        Counter::OrdersRejected => (&ORDERS, &["rejected"]),
        Counter::Entries => (&ENTRIES, &[]),
        Counter::Evictions => (&EVICTIONS, &[]),
        Counter::MalformedQueries => (&REFUSED, &["malformed"]),
        Counter::RefusedClients => (&REFUSED, &["network"]),
        Counter::ShedQueries => (&REFUSED, &["limit"]),
        Counter::Loops => (&REFUSED, &["loop"]),
        Counter::TcpClients => (&TCP_CLIENTS, &[]),
        Counter::TcpDropped => (&TCP_DROPPED, &[]),
        Counter::ControlErrors => (&CONTROL_ERRORS, &[]),
        Counter::Hints => (&HINTS, &[]),
        Counter::HintsDropped => (&HINTS_DROPPED, &[]),
        Counter::Prefetches => (&REFRESHES, &[]),
        Counter::ForgeriesSuspected => (&FORGERIES, &[]),
        Counter::LocalAnswers => (&LOCAL, &[]),
        Counter::Blocked => (&BLOCKED, &[]),
        Counter::RateLimited => (&LIMITED, &[]),
        Counter::NetworkChanges => (&NETWORK_CHANGES, &[]),
        Counter::AdditionsLeftOut => (&LEFT_OUT, &[]),
        Counter::RebindingBlocked => (&PRIVATE, &[]),
        Counter::FamiliesWithheld => (&FAMILIES_WITHHELD, &[]),
        Counter::RestoredHits => (&RESTORED, &[]),
        Counter::FeedSubscribers => (&FEED_SUBSCRIBERS, &[]),
        Counter::FeedNames => (&FEED_NAMES, &[]),
        Counter::FeedRecords => (&FEED_RECORDS, &["change"]),
        Counter::FeedGaps => (&FEED_RECORDS, &["gap"]),
        Counter::FeedRefreshes => (&FEED_REFRESHES, &[]),
        Counter::DnstapDropped => (&DNSTAP_DROPPED, &[]),
        Counter::SiteOffers => (&SITE_OFFERS, &[]),
        Counter::SitePublished => (&SITE_JUDGED, &["published"]),
        Counter::SiteRefused => (&SITE_JUDGED, &["refused"]),
        Counter::SiteAsks => (&SITE_ASKS, &[]),
        Counter::SiteAnswers => (&SITE_ANSWERED, &["answered"]),
        Counter::SiteUnanswered => (&SITE_ANSWERED, &["unanswered"]),
        Counter::SiteHits => (&SITE_HITS, &[]),
    }
}
