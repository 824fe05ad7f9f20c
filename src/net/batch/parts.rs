//! The received datagrams of a batch and its buffers for replies, which can be borrowed at the same
//! time.

use super::{BATCH_MAX, Control, QUERY_MAX, REPLY_MAX, Route, octets, peer, route};
use std::net::SocketAddr;

/// The received datagrams of a batch.
#[derive(Clone, Copy)]
pub struct Received<'b> {
    pub(super) headers: &'b [libc::mmsghdr; BATCH_MAX],
    pub(super) senders: &'b [libc::sockaddr_in6; BATCH_MAX],
    pub(super) controls: &'b [Control; BATCH_MAX],
    pub(super) octets: &'b [[u8; QUERY_MAX]],
}

impl std::fmt::Debug for Received<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Received").finish_non_exhaustive()
    }
}

impl<'b> Received<'b> {
    /// The n-th datagram; see [`super::Batch::query`].
    #[must_use]
    pub fn query(self, n: usize) -> &'b [u8] {
        octets(self.headers, self.octets, n)
    }

    /// The sender of the n-th datagram; see [`super::Batch::peer`].
    #[must_use]
    pub fn peer(self, n: usize) -> Option<SocketAddr> {
        peer(&self.senders[n])
    }

    /// The route of a reply to the n-th datagram; see [`super::Batch::route`].
    #[must_use]
    pub fn route(self, n: usize) -> Route {
        route(self.headers, self.senders, self.controls, n)
    }
}

/// The buffers for the replies to a batch.
#[derive(Debug)]
pub struct Replies<'b> {
    pub(super) octets: &'b mut [[u8; REPLY_MAX]],
    pub(super) len: &'b mut [usize; BATCH_MAX],
}

impl Replies<'_> {
    /// Has `write` put the reply to the n-th datagram into its buffer; if it returns a length of 0 no
    /// reply is sent.
    pub fn write(&mut self, n: usize, write: impl FnOnce(&mut [u8; REPLY_MAX]) -> usize) {
        self.len[n] = write(&mut self.octets[n]).min(REPLY_MAX);
    }

    /// The reply to the n-th datagram; empty if none is sent.
    #[must_use]
    pub fn get(&self, n: usize) -> &[u8] {
        let octets = self.len.get(n).and_then(|len| self.octets.get(n)?.get(..*len));
        octets.unwrap_or_default()
    }
}
