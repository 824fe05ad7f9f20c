//! A server: an address, the link by which it is reached, and the transport of its queries.

use hither_table::layout::checksum;
use std::fmt;
use std::net::SocketAddr;

/// The transport of queries and responses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Transport {
    /// One datagram each way; TCP where a response is truncated or doubtful.
    #[default]
    Udp,
    /// A connection of its own for each query (RFC 7766).
    Tcp,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over QUIC (RFC 9250).
    Quic,
}

impl Transport {
    /// Whether connections are encrypted and the server is authenticated.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Https | Self::Quic)
    }
}

/// A DNS server. The same address on two links is two servers: each network has its own. So is the same
/// address by two transports, or with two ways of authenticating the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Server {
    /// The address and port of the server. Unspecified where the address of its name is looked up.
    pub address: SocketAddr,
    /// The interface index of the link; with 0, the host's routes decide.
    pub link: u32,
    /// The transport of its queries.
    pub transport: Transport,
    /// A hash of the settings of an encrypted transport (names, addresses, keys, path), the same in every
    /// process; 0 for servers without encryption.
    pub settings: u64,
}

impl Server {
    /// A server that is asked by UDP, and by TCP where needed.
    #[must_use]
    pub fn plain(address: SocketAddr, link: u32) -> Server {
        Server { address, link, transport: Transport::Udp, settings: 0 }
    }

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
        let plain = [(bits >> 64) as u64, bits as u64, place, port];
        // Marks of servers without a transport of their own are those of earlier versions, whose saved
        // files stay valid.
        let more = [self.transport as u64, self.settings];
        let more = if self.transport == Transport::Udp { &[][..] } else { &more[..] };
        checksum(plain.into_iter().chain(more.iter().copied())).max(1)
    }
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Server {
        Server::plain(address, 0)
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
