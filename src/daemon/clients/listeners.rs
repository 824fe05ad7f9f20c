//! The sockets for clients: passed by systemd (`daemon/socket_activation.rs`), or bound from the
//! configuration.

use crate::daemon::socket_activation::{DnsSockets, Inherited};
use crate::logging::Event;
use hither_net::listen;
use std::net::{SocketAddr, TcpListener, UdpSocket};

#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Several with the same address if there are several workers.
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
    pub addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Takes the sockets that systemd passed, or binds the configured addresses.
    ///
    /// # Errors
    /// None of the addresses can be bound. Other failures are logged.
    pub fn open(
        inherited: &mut Inherited,
        configured: &[SocketAddr],
        workers: usize,
    ) -> Result<Listeners, String> {
        let mut listeners = Listeners::default();
        let DnsSockets { udp, tcp } = inherited.take_dns();
        if udp.is_empty() && tcp.is_empty() {
            for address in configured {
                // A port that the kernel chose for one protocol may be in use for the other. Then
                // another one is tried.
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
            log::info!("systemd passed {} sockets; listen.dns is not used", udp.len() + tcp.len());
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
            return Err("there is no address to listen at: see listen.dns in hither.toml(5), and check whether another program uses port 53".to_owned());
        }
        Ok(listeners)
    }

    fn bind(&mut self, address: SocketAddr, workers: usize) -> std::io::Result<()> {
        let mut udp = vec![listen::udp(address, workers > 1)?];
        // With port 0, all sockets use the port that the kernel chose for the first.
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
