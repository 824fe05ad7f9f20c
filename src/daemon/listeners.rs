//! Where clients ask: sockets handed over by systemd, or bound from the configuration.

use hither_net::activation::{self, Socket};
use hither_net::listen;
use std::net::{SocketAddr, TcpListener, UdpSocket};

#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Several with the same address where there are several workers.
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
    pub addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// # Errors
    /// If not one address can be listened at; what else fails is logged.
    pub fn open(configured: &[SocketAddr], workers: usize) -> Result<Listeners, String> {
        let mut listeners = Listeners::default();
        let inherited = activation::inherited().map_err(|error| error.to_string())?;
        if inherited.is_empty() {
            for address in configured {
                // A port that the kernel chose for one protocol may be taken for the other: then another one.
                let tries = if address.port() == 0 { 16 } else { 1 };
                let bound = (1..tries)
                    .find_map(|_| listeners.bind(*address, workers).ok())
                    .map_or_else(|| listeners.bind(*address, workers), Ok);
                if let Err(error) = bound {
                    log::error!("cannot listen at {address}: {error}; going on without it");
                }
            }
        } else {
            log::info!("systemd hands over {} sockets; listen.dns is not used", inherited.len());
        }
        for own in inherited {
            listeners.addresses.push(own.address);
            match own.socket {
                Socket::Udp(socket) => {
                    let prepared = listen::prepare_udp(&socket);
                    prepared
                        .map_err(|error| format!("the socket for {} cannot be used: {error}", own.address))?;
                    listeners.udp.push(socket);
                }
                Socket::Tcp(socket) => listeners.tcp.push(socket),
            }
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
