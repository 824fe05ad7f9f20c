//! The daemon's counters, in the header of the table, so that they can be read without asking anybody.

/// Words kept for them.
pub(crate) const COUNT: usize = 64;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal),* $(,)?) => {
        /// What is counted. The order is part of the ABI: new ones go last.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Counter {
            $($(#[$doc])* $variant),*
        }

        impl Counter {
            /// All of them.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant),*];

            /// Its name, as in `hitherctl stats --json`.
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
    /// Queries that had to wait for a round.
    Misses = "misses",
    /// Clients answered with expired data.
    StaleServed = "stale_served",
    /// Rounds begun.
    RoundsStarted = "rounds_started",
    /// Rounds that ended with every upstream heard.
    RoundsComplete = "rounds_complete",
    /// Rounds that ended because time was up.
    RoundsPartial = "rounds_partial",
    /// Rounds that gave way to a newer one, a flush or a reload.
    RoundsSuperseded = "rounds_superseded",
    /// Rounds alive now.
    RoundsLive = "rounds_live",
    /// Queries sent to upstreams.
    Attempts = "attempts",
    /// Of them, those not yet answered.
    AttemptsOutstanding = "attempts_outstanding",
    /// Responses that came after their attempt had ended.
    LateResponsesDropped = "late_responses_dropped",
    /// Responses that did not fit the query of their socket.
    MismatchedResponsesDropped = "mismatched_responses_dropped",
    /// Versions published.
    Publishes = "publishes",
    /// Orders of the sorter that were applied.
    OrdersApplied = "orders_applied",
    /// Orders of the sorter that were refused.
    OrdersRejected = "orders_rejected",
    /// Entries of table and answer cache now.
    Entries = "entries",
    /// Entries that made room for others.
    Evictions = "evictions",
    /// Queries that could not be read.
    MalformedQueries = "malformed_queries",
    /// Queries from networks that may not ask.
    RefusedClients = "refused_clients",
    /// Queries refused because of a limit.
    ShedQueries = "shed_queries",
    /// TCP connections of clients now.
    TcpClients = "tcp_clients",
    /// Messages of sorter or control clients that could not be read.
    ControlErrors = "control_errors",
    /// Hints of readers that an entry is still wanted.
    Hints = "hints",
    /// Hints that could not be read, or were more than a user may send.
    HintsDropped = "hints_dropped",
    /// Rounds begun because an entry's time was nearly over, before anybody had to wait.
    Prefetches = "prefetches",
    /// Attempts for which a datagram came that somebody else may have sent; they were asked again over TCP.
    ForgeriesSuspected = "forgeries_suspected",
    /// Queries answered from what is known here: special names, hosts files, block lists.
    LocalAnswers = "local_answers",
    /// Of them, those that a block list denied.
    Blocked = "blocked",
    /// Replies to clients beyond this host that were held back or cut to TC, because of too many alike.
    RateLimited = "rate_limited",
    /// Queries that this host itself had sent, and that came back to it.
    Loops = "loops",
    /// TCP connections closed to make room for others, or because they gave too little too slowly.
    TcpDropped = "tcp_dropped",
    /// Times the network was seen to change, the host's waking from sleep included.
    NetworkChanges = "network_changes",
    /// Addresses that one upstream added to what another had answered, and that were left out: beyond what fits a reply, or for too short a time.
    AdditionsLeftOut = "additions_left_out",
    /// Answers of upstreams with private addresses for a public name, which were withheld.
    RebindingBlocked = "rebinding_blocked",
}

/// One reading of all counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters(pub(crate) [u64; COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; COUNT])
    }
}

impl Counters {
    /// Its value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Sets it, for what is a level rather than a count.
    pub fn set(&mut self, counter: Counter, value: u64) {
        self.0[counter as usize] = value;
    }

    /// Adds to it.
    pub fn add(&mut self, counter: Counter, more: u64) {
        let value = &mut self.0[counter as usize];
        *value = value.wrapping_add(more);
    }
}

const _: () = assert!(Counter::ALL.len() <= COUNT);
