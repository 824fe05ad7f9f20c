//! Socket activation: takes the sockets that systemd passes, sorted by their purpose.

use hither_net::activation::{self, Socket};
use hither_net::seqpacket::Listener;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// The sockets that systemd passes, by their purpose.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    dns: DnsSockets,
    pub control: Option<Listener>,
    pub sorter: Option<Listener>,
    pub site: Option<Listener>,
}

/// The sockets for DNS that systemd passes, each with its address.
#[derive(Debug, Default)]
pub(crate) struct DnsSockets {
    pub udp: Vec<(SocketAddr, UdpSocket)>,
    pub tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Inherited {
    /// Takes all sockets. One that cannot be used is logged and left out.
    ///
    /// # Errors
    /// The environment variables of sd_listen_fds(3) contradict each other.
    pub fn take() -> Result<Inherited, String> {
        let mut inherited = Inherited::default();
        for one in activation::inherited().map_err(|error| error.to_string())? {
            let taken = one.map_err(|error| error.to_string()).and_then(|one| inherited.sort_in(one));
            if let Err(error) = taken {
                log::error!("{error}; going on without it");
            }
        }
        Ok(inherited)
    }

    /// DNS sockets may have any name. The names of local sockets give their purpose.
    fn sort_in(&mut self, one: activation::Inherited) -> Result<(), String> {
        let (listener, place) = match (one.socket, one.name.as_str()) {
            (Socket::Udp(address, socket), _) => {
                self.dns.udp.push((address, socket));
                return Ok(());
            }
            (Socket::Tcp(address, socket), _) => {
                self.dns.tcp.push((address, socket));
                return Ok(());
            }
            (Socket::Local(listener), "control") => (listener, &mut self.control),
            (Socket::Local(listener), "sorter") => (listener, &mut self.sorter),
            (Socket::Local(listener), "site") => (listener, &mut self.site),
            (Socket::Local(_), name) => {
                return Err(format!(
                    "the local socket '{name}' handed over by systemd is for nothing; expected FileDescriptorName=control, sorter or site"
                ));
            }
        };
        if place.is_some() {
            return Err(format!("systemd passes more than one socket '{}'", one.name));
        }
        *place = Some(listener);
        Ok(())
    }

    /// The sockets for DNS; afterwards there are none.
    pub fn take_dns(&mut self) -> DnsSockets {
        std::mem::take(&mut self.dns)
    }
}
