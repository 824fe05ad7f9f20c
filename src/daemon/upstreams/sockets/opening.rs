//! Opens sockets to upstreams, and closes unused ones for them if the kernel has no descriptor.

use super::{Line, Upstreams};
use crate::daemon::sources::Slot;
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
        let open = |own: &mut Upstreams| {
            let line = own.pool.open(upstream, id, now, &mut own.random)?;
            let port = line.port;
            let key = own.enter(registry, Line::Udp(line))?;
            own.pool.note_opened(port, key);
            Ok(key)
        };
        let reuse = |own: &mut Upstreams| {
            let sockets = &own.sockets;
            let fits = |key: usize| matches!(&sockets[key].line, Line::Udp(line) if line.may_still_send(id));
            own.pool.draw_any(upstream, &mut own.random, fits)
        };
        self.open_or_reuse(now, open, reuse)
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
        let connect = |_: &mut Upstreams| ports::tcp(server.address, server.link);
        let stream = self.open_or_reuse(now, connect, |_| None)?;
        let mut outbox = Outbox::new(1024);
        outbox.queue(query);
        self.enter(registry, Line::Tcp { stream, framer: Framer::default(), outbox, connected: false })
    }

    /// Opens a socket. If the kernel has no descriptor, returns the socket that `reuse` finds; if it
    /// finds none, closes unused sockets and tries again.
    fn open_or_reuse<T>(
        &mut self,
        now: Monotonic,
        open: impl Fn(&mut Upstreams) -> io::Result<T>,
        reuse: impl Fn(&mut Upstreams) -> Option<T>,
    ) -> io::Result<T> {
        self.make_room();
        let error = match open(self) {
            Err(error) if is_shortage(&error) => error,
            done => return done,
        };
        self.short = Some(now);
        match reuse(self) {
            Some(found) => Ok(found),
            None if self.give_up(CLOSED_AT_SHORTAGE_MAX) == 0 => Err(error),
            None => open(self),
        }
    }

    /// Takes one step of the handshake of a connection to an encrypted upstream: opens its socket, or goes
    /// on with what the socket has received.
    pub fn step_handshake(&mut self, registry: &Registry, slot: Slot, now: Monotonic) {
        if !self.encrypted.is_planned(slot) {
            return self.encrypted.shake(slot, now);
        }
        let open = |own: &mut Upstreams| own.encrypted.open(registry, slot, now, &mut own.random);
        let opened = match self.encrypted.is_full() {
            true => Err(io::Error::from_raw_os_error(nix::libc::EMFILE)),
            false => self.open_or_reuse(now, open, |_| None),
        };
        if let Err(error) = opened {
            self.encrypted.give_up(slot, &error, now);
        }
    }

    /// Closes an unused socket if the bound on sockets is reached.
    fn make_room(&mut self) {
        if self.len() >= self.shares.sockets {
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
        for key in self.pool.remove_oldest(count.saturating_sub(closed(self))) {
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
