//! The daemon's counters. They are in the table's header, so that processes can read them without a
//! request to the daemon.

/// Words of the header for counters, some of them still unused.
pub(crate) const COUNT: usize = 64;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// A counter of the daemon. The order is part of the ABI: new counters are added at the
        /// end.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter {
            $($(#[$doc])* $variant),*
        }

        impl Counter {
            /// All counters, in the order of the table.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// The name, as in `hitherctl stats --json`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name),*
                }
            }
        }
    };
}

counters! {
    /// Messages received from clients.
    Queries = "queries",
    /// Messages sent to clients.
    Replies = "replies",
    /// Queries answered from the cache.
    Hits = "hits",
    /// Queries that needed a round.
    Misses = "misses",
    /// Clients answered with expired data.
    StaleServed = "stale_served",
    /// Rounds that began.
    RoundsStarted = "rounds_started",
    /// Rounds that ended after every upstream had responded or failed.
    RoundsComplete = "rounds_complete",
    /// Rounds that ended at their deadline.
    RoundsPartial = "rounds_partial",
    /// Rounds that were superseded by a newer one, a flush or a reload.
    RoundsSuperseded = "rounds_superseded",
    /// Rounds that are live now.
    RoundsLive = "rounds_live",
    /// Queries sent to upstreams.
    Attempts = "attempts",
    /// Attempts that have no response yet.
    AttemptsOutstanding = "attempts_outstanding",
    /// Late responses: their attempt had ended.
    LateResponsesDropped = "late_responses_dropped",
    /// Responses that did not match the query of their socket.
    MismatchedResponsesDropped = "mismatched_responses_dropped",
    /// Versions of address sets that were published.
    Publishes = "publishes",
    /// Orders of the sorter that were applied.
    OrdersApplied = "orders_applied",
    /// Orders of the sorter that were refused.
    OrdersRejected = "orders_rejected",
    /// Entries in the table and the answer cache now.
    Entries = "entries",
    /// Entries that were evicted for others.
    Evictions = "evictions",
    /// Queries that were malformed.
    MalformedQueries = "malformed_queries",
    /// Queries from networks that are not allowed to use hither.
    RefusedClients = "refused_clients",
    /// Queries refused because of a limit.
    ShedQueries = "shed_queries",
    /// TCP connections of clients now.
    TcpClients = "tcp_clients",
    /// Messages of sorter or control clients that could not be read.
    ControlErrors = "control_errors",
    /// Hints received: a reader still uses an entry that is about to expire.
    Hints = "hints",
    /// Hints that were malformed, or exceeded what one user may send.
    HintsDropped = "hints_dropped",
    /// Refreshes: rounds that began because an entry was about to expire.
    Prefetches = "prefetches",
    /// Attempts that received a datagram which may be forged; their question was repeated over TCP.
    ForgeriesSuspected = "forgeries_suspected",
    /// Queries answered locally: special-use names, hosts files, block lists.
    LocalAnswers = "local_answers",
    /// Queries that a block list denied.
    Blocked = "blocked",
    /// Replies to clients on other hosts that were dropped or truncated (TC), since too many were
    /// alike.
    RateLimited = "rate_limited",
    /// Queries that hither itself had sent and that came back to it.
    Loops = "loops",
    /// TCP connections closed in favour of others, or since their clients were too slow.
    TcpDropped = "tcp_dropped",
    /// Changes of the network, including resumption after sleep.
    NetworkChanges = "network_changes",
    /// Extra addresses that were left out: they did not fit a reply, or their TTL was too short.
    AdditionsLeftOut = "additions_left_out",
    /// Answers with private addresses for a public name, which were withheld.
    RebindingBlocked = "rebinding_blocked",
    /// Replies without the addresses of a family, since the other family is better (`sort.withhold`).
    FamiliesWithheld = "families_withheld",
    /// Hits whose data was restored from before the last boot, and not renewed since.
    RestoredHits = "restored_hits",
    /// Programs that are subscribed to changes now.
    FeedSubscribers = "feed_subscribers",
    /// Names that they are subscribed to now; one that two programs have counts twice.
    FeedNames = "feed_names",
    /// Records of changes that were sent to them.
    FeedRecords = "feed_records",
    /// Records of gaps that were sent, to programs that did not read in time.
    FeedGaps = "feed_gaps",
    /// Rounds that began because a program subscribes to the name.
    FeedRefreshes = "feed_refreshes",
    /// Messages that the dnstap collector did not get: it was away or slow (`log.dnstap`).
    DnstapDropped = "dnstap_dropped",
    /// Sets that other hosts of the site offered.
    SiteOffers = "site_offers",
    /// Of these, sets that were published.
    SitePublished = "site_published",
    /// Of these, sets that were refused: malformed, expired, not newer than what is known, or not wanted.
    SiteRefused = "site_refused",
    /// Questions that the site was asked.
    SiteAsks = "site_asks",
    /// Of these, questions that the site answered in time, with a set or with nothing.
    SiteAnswers = "site_answers",
    /// Of these, questions that the site did not answer in time.
    SiteUnanswered = "site_unanswered",
    /// Hits whose data another host of the site has learned.
    SiteHits = "site_hits",
}

/// The values of all counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters(pub(crate) [u64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Counters {
    /// The value of a counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Sets a counter that is a level rather than a count.
    pub fn set(&mut self, counter: Counter, value: u64) {
        self.0[counter as usize] = value;
    }

    /// Adds to a counter; wraps around.
    pub fn add(&mut self, counter: Counter, more: u64) {
        let value = &mut self.0[counter as usize];
        *value = value.wrapping_add(more);
    }
}

const _: () = assert!(Counter::ALL.len() <= COUNT);
