//! Who is asked: an address, and the link by which it is asked.

use hither_table::layout::checksum;
use std::fmt;
use std::net::SocketAddr;

/// A server of DNS. The same address on two links is two servers: each network has its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Server {
    /// Address and port.
    pub address: SocketAddr,
    /// The number of the link by which it is asked; 0: whichever the routes of the host lead to.
    pub link: u32,
}

impl Server {
    /// A number that stands for it, the same in every process. IPv4 addresses and those that are mapped to IPv6 are one.
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
