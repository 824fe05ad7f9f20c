//! Offers: sets that another host of the site has learned, which the companion hands to the daemon.

mod draft;

pub(crate) use draft::Judge;

use hither_table::{Address, Agreement, Chain, Family, Monotonic, Negative, SoaRecord};
use hither_wire::name::Name;

/// A set that another host of the site has learned. Its times are those of the table's clock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Owner, in lower case.
    pub name: Name,
    /// The family of the set.
    pub family: Family,
    /// The host that has learned it.
    pub host: Box<str>,
    /// The upstreams that gave it, as that host names them.
    pub said_by: Vec<Box<str>>,
    /// When it was learned, and when it expires.
    pub times: OfferTimes,
    /// How far the upstreams of that host agreed.
    pub agreement: Agreement,
    /// The denial, if there are no addresses.
    pub negative: Option<Negative>,
    /// The addresses, each with the index of its chain.
    pub addresses: Vec<Address>,
    /// The CNAME chains that lead to the addresses: at least one, which may be empty.
    pub chains: Vec<Chain>,
    /// The SOA record of a denial.
    pub soa: Option<Box<SoaRecord>>,
}

/// The times of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferTimes {
    /// The earliest time at which an upstream can have been asked. The set is as new as this, and perhaps
    /// newer.
    pub asked: Monotonic,
    /// When the host had learned it. The set is as old as this, and perhaps older.
    pub learned: Monotonic,
    /// When the set expires, in milliseconds.
    pub expire_ms: u64,
    /// The TTL in seconds with which the host published it.
    pub lifetime_s: u32,
}

/// An event of the site.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Site {
    /// The companion is connected and its engine answers, or no longer. Until then it is not asked.
    Ready(bool),
    /// Sets that other hosts have learned.
    Offers(Vec<Offer>),
    /// The answer to [`crate::Action::AskSite`].
    Answer {
        /// The round that asked.
        round: u64,
        /// What the site knows.
        offer: Option<Box<Offer>>,
    },
    /// The operator voids all sets that came from the site.
    Flush,
}
