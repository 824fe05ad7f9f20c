//! The settings of a world.

use super::upstream;
use crate::sim::upstreams::Fate;
use hither_rounds::mutant::Mutant;
use hither_rounds::{Routes, Server, Settings, Transport};

/// The settings of a world.
pub struct Plan {
    pub upstreams: usize,
    /// The upstreams that are encrypted. Their queries have fates of their own.
    pub encrypted: &'static [usize],
    /// The number of names that clients ask for.
    pub names: usize,
    /// The fates that queries may have.
    pub fates: &'static [Fate],
    /// The times that a response may take, in milliseconds.
    pub delays_ms: &'static [u64],
    /// Whether a fate is drawn for every query. Otherwise it is drawn only for the first query about a name
    /// to an upstream, so that all worlds can be run.
    pub every_fate: bool,
    /// The TTLs that upstreams give.
    pub ttls_s: Ttls,
    pub settings: Settings,
    pub mutant: Option<Mutant>,
    /// Which actions fail while they are executed.
    pub drain: Drain,
    /// Whether a line is kept for each event and action.
    pub trace: bool,
}

/// How the TTL of an upstream's answer is chosen: drawn from three for each query, or one for each upstream.
#[derive(Clone, Copy)]
pub enum Ttls {
    Drawn([u32; 3]),
    OfUpstream([u32; 3]),
}

/// Which actions fail while the core's actions are executed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// No action fails. Attempts fail and clients leave only by events of their own.
    Smooth,
    /// Each action that can fail fails in every way that the core distinguishes.
    EveryWay,
    /// One action in so many fails, in a way that is drawn.
    OneIn(u64),
}

impl Plan {
    /// The routes to the first `count` upstreams.
    pub fn routes(&self, count: usize) -> Routes {
        Routes { usual: (0..count).map(|n| self.server(n)).collect(), ..Routes::default() }
    }

    fn server(&self, n: usize) -> Server {
        let plain = Server::plain(upstream(n), 0);
        let transports = [Transport::Tls, Transport::Https, Transport::Quic];
        let at = self.encrypted.iter().position(|own| *own == n);
        at.map_or(plain, |at| Server { transport: transports[at % 3], settings: 1, ..plain })
    }
}
