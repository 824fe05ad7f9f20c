//! Doubtful datagrams of an attempt, which another host may have sent, and the TCP attempt that
//! confirms them.

use crate::ids::AttemptId;
use crate::response::{Doubt, full_rcode, is_error};
use hither_table::Monotonic;
use hither_wire::message::Message;

/// The doubt about a UDP attempt, and the TCP attempt beside it.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    /// Doubtful datagrams so far.
    pub count: u16,
    /// One had our id and could not be read: most likely from the upstream.
    pub unreadable: bool,
    /// One had our id and another question.
    pub other: bool,
    /// Until when UDP waits for TCP; afterwards UDP counts. `None`: no doubt, or TCP failed.
    pub until: Option<Monotonic>,
    /// The datagram that waits for TCP.
    pub kept: Option<Kept>,
    /// For a TCP attempt: the UDP attempt that it is to confirm.
    pub confirms: Option<AttemptId>,
}

/// A datagram that counts once TCP confirms it, or once TCP has failed.
#[derive(Debug)]
pub(crate) struct Kept {
    pub came: Monotonic,
    pub octets: Vec<u8>,
    /// What it lacks compared to a correct response.
    pub strange: Option<Doubt>,
}

impl Kept {
    /// Whether it has an answer, positive or negative. An error may be due to the way of asking, and a
    /// truncated message says nothing.
    pub fn answers(&self) -> bool {
        Message::open(&self.octets).is_ok_and(|m| !m.header().tc() && !is_error(full_rcode(&m)))
    }
}

impl Doubtful {
    /// Keeps the first datagram, or the first that lacks nothing.
    pub fn keep(&mut self, now: Monotonic, octets: &[u8], strange: Option<Doubt>) {
        let better = |kept: &Kept| kept.strange.is_some() && strange.is_none();
        if self.kept.as_ref().is_none_or(better) {
            self.kept = Some(Kept { came: now, octets: octets.to_vec(), strange });
        }
    }
}
