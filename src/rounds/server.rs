//! A server: an address, and the link by which it is reached.

use hither_table::layout::checksum;
use std::fmt;
use std::net::SocketAddr;

/// A DNS server. The same address on two links is two servers: each network has its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Server {
    /// The address and port of the server.
    pub address: SocketAddr,
    /// The interface index of the link; with 0, the host's routes decide.
    pub link: u32,
}

impl Server {
    /// A hash of the server, the same in every process. An IPv4 address and its mapped IPv6 address are
    /// the same.
    #[must_use]
    pub fn mark(&self) -> u64 {
        let (address, scope) = match self.address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        let (bits, port) = (address.to_bits(), u64::from(self.address.port()));
        let place = u64::from(scope) << 32 | u64::from(self.link);
        checksum([(bits >> 64) as u64, bits as u64, place, port].into_iter()).max(1)
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Server {
        Server { address, link: 0 }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.link {
            0 => write!(f, "{}", self.address),
            link => write!(f, "{} on link {link}", self.address),
        }
    }
}
