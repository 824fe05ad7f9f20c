//! Where clients ask: sockets handed over by systemd, or bound from the configuration.

use crate::logging::Event;
use hither_net::activation::{self, Socket};
use hither_net::listen;
use hither_net::seqpacket::Listener;
use std::net::{SocketAddr, TcpListener, UdpSocket};

#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Several with the same address where there are several workers.
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
    pub addresses: Vec<SocketAddr>,
}

/// What systemd hands over, by what it is for.
#[derive(Debug, Default)]
pub(crate) struct Inherited {
    udp: Vec<(SocketAddr, UdpSocket)>,
    tcp: Vec<(SocketAddr, TcpListener)>,
    pub control: Option<Listener>,
    pub sorter: Option<Listener>,
}

impl Inherited {
    /// Takes what there is; what cannot be used is logged and left out.
    ///
    /// # Errors
    /// If what the environment says of them contradicts itself.
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

    /// DNS sockets may have any name, local ones are told apart by it.
    fn sort_in(&mut self, one: activation::Inherited) -> Result<(), String> {
        let (listener, place) = match (one.socket, one.name.as_str()) {
            (Socket::Udp(address, socket), _) => {
                self.udp.push((address, socket));
                return Ok(());
            }
            (Socket::Tcp(address, socket), _) => {
                self.tcp.push((address, socket));
                return Ok(());
            }
            (Socket::Local(listener), "control") => (listener, &mut self.control),
            (Socket::Local(listener), "sorter") => (listener, &mut self.sorter),
            (Socket::Local(_), name) => {
                return Err(format!(
                    "the local socket '{name}' handed over by systemd is for nothing; expected FileDescriptorName=control or sorter"
                ));
            }
        };
        if place.is_some() {
            return Err(format!("systemd hands over more than one socket '{}'", one.name));
        }
        *place = Some(listener);
        Ok(())
    }
}

impl Listeners {
    /// # Errors
    /// If not one address can be listened at; what else fails is logged.
    pub fn open(
        inherited: &mut Inherited,
        configured: &[SocketAddr],
        workers: usize,
    ) -> Result<Listeners, String> {
        let mut listeners = Listeners::default();
        let (udp, tcp) = (std::mem::take(&mut inherited.udp), std::mem::take(&mut inherited.tcp));
        if udp.is_empty() && tcp.is_empty() {
            for address in configured {
                // A port that the kernel chose for one protocol may be taken for the other: then another one.
                let tries = if address.port() == 0 { 16 } else { 1 };
                let bound = (1..tries)
                    .find_map(|_| listeners.bind(*address, workers).ok())
                    .map_or_else(|| listeners.bind(*address, workers), Ok);
                if let Err(error) = bound {
                    log::error!(
                        event = Event::NotListening, address:% = address, reason:% = error;
                        "cannot listen at {address}: {error}; going on without it"
                    );
                }
            }
        } else {
            log::info!("systemd hands over {} sockets; listen.dns is not used", udp.len() + tcp.len());
        }
        for (address, socket) in udp {
            let prepared = listen::prepare_udp(&socket);
            prepared.map_err(|error| format!("the socket for {address} cannot be used: {error}"))?;
            listeners.addresses.push(address);
            listeners.udp.push(socket);
        }
        for (address, socket) in tcp {
            let prepared = listen::prepare_tcp(&socket);
            prepared.map_err(|error| format!("the socket for {address} cannot be used: {error}"))?;
            listeners.addresses.push(address);
            listeners.tcp.push(socket);
        }
        listeners.addresses.sort_unstable();
        listeners.addresses.dedup();
        if listeners.udp.is_empty() && listeners.tcp.is_empty() {
            return Err("there is no address to listen at: see listen.dns in hither.toml(5), and who else holds port 53".to_owned());
        }
        Ok(listeners)
    }

    fn bind(&mut self, address: SocketAddr, workers: usize) -> std::io::Result<()> {
        let mut udp = vec![listen::udp(address, workers > 1)?];
        // With port 0 all take the one that the kernel chose.
        let address = udp[0].local_addr()?;
        let tcp = listen::tcp(address)?;
        for _ in 1..workers {
            udp.push(listen::udp(address, true)?);
        }
        self.udp.append(&mut udp);
        self.tcp.push(tcp);
        self.addresses.push(address);
        Ok(())
    }
}
