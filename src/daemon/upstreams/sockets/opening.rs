//! Opens a socket to an upstream, and closes others for it if there is no descriptor.

use super::{Line, Upstreams};
use hither_net::frame::{Framer, Outbox};
use hither_net::ports;
use hither_net::shortage::is_shortage;
use hither_rounds::Server;
use hither_table::Monotonic;
use mio::Registry;
use std::io;

/// Sockets that are closed together if the kernel has no descriptor.
const CLOSED_AT_SHORTAGE_MAX: usize = 4;

impl Upstreams {
    /// A new UDP socket, or any idle one to that upstream if the kernel has no descriptor.
    pub(super) fn open(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        upstream: Server,
        id: u16,
    ) -> io::Result<usize> {
        self.make_room();
        let error = match self.open_new(registry, now, upstream, id) {
            Err(error) if is_shortage(&error) => error,
            done => return done,
        };
        self.short = Some(now);
        let sockets = &self.sockets;
        let fits = |key: usize| matches!(&sockets[key].line, Line::Udp(line) if line.may_still_send(id));
        if let Some(key) = self.pool.draw_any(upstream, &mut self.random, fits) {
            return Ok(key);
        }
        if self.give_up(CLOSED_AT_SHORTAGE_MAX) == 0 {
            Err(error)
        } else {
            self.open_new(registry, now, upstream, id)
        }
    }

    fn open_new(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        upstream: Server,
        id: u16,
    ) -> io::Result<usize> {
        let line = self.pool.open(upstream, id, now, &mut self.random)?;
        let port = line.port;
        let key = self.enter(registry, Line::Udp(line))?;
        self.pool.opened(port, key);
        Ok(key)
    }

    /// A connection for this query. If the kernel has no descriptor, idle sockets are closed for
    /// it.
    pub(super) fn tcp_socket(
        &mut self,
        registry: &Registry,
        now: Monotonic,
        server: Server,
        query: &[u8],
    ) -> io::Result<usize> {
        self.make_room();
        let connect = || ports::tcp(server.address, server.link);
        let stream = match connect() {
            Err(error) if is_shortage(&error) => {
                self.short = Some(now);
                if self.give_up(CLOSED_AT_SHORTAGE_MAX) == 0 {
                    return Err(error);
                }
                connect()?
            }
            done => done?,
        };
        let mut outbox = Outbox::new(1024);
        outbox.queue(query);
        self.enter(registry, Line::Tcp { stream, framer: Framer::default(), outbox, connected: false })
    }

    /// Closes an unused socket if the bound on sockets is reached.
    fn make_room(&mut self) {
        if self.sockets.len() >= self.most {
            self.give_up(1);
        }
    }

    /// Closes up to `count` unused sockets: first those that are to be closed anyway, then idle ones,
    /// then those that wait for late responses. Returns how many.
    pub(crate) fn give_up(&mut self, count: usize) -> usize {
        let before = self.sockets.len();
        let closed = |upstreams: &Upstreams| before - upstreams.sockets.len();
        while closed(self) < count
            && let Some(key) = self.over.pop()
        {
            self.drop_socket(key);
        }
        for key in self.pool.give_up(count.saturating_sub(closed(self))) {
            self.drop_socket(key);
        }
        while closed(self) < count
            && let Some((_, key)) = self.lingering.first().copied()
        {
            self.drop_socket(key);
        }
        closed(self)
    }
}
