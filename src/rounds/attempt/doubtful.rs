//! Doubtful datagrams of an attempt, which another host may have sent, and the TCP attempt that
//! confirms them.

use crate::ids::AttemptId;
use crate::response::{Doubt, full_rcode, is_error};
use hither_table::Monotonic;
use hither_wire::message::Message;

/// The doubt about a UDP attempt's datagrams, and the state of the TCP attempt that is to confirm one.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    /// Doubtful datagrams so far.
    pub count: u16,
    /// Whether a datagram had our id and could not be read. Most likely the upstream sent it.
    pub unreadable: bool,
    /// Whether a datagram had our id and another question.
    pub other: bool,
    /// When the kept datagram is accepted although TCP has not confirmed it. `None`: nothing is in doubt, or
    /// TCP has failed.
    pub until: Option<Monotonic>,
    /// The datagram that waits for TCP.
    pub kept: Option<Kept>,
    /// For a TCP attempt: the UDP attempt whose datagram it is to confirm.
    pub confirms: Option<AttemptId>,
}

/// A datagram that is accepted once TCP confirms it, or once TCP has failed.
#[derive(Debug)]
pub(crate) struct Kept {
    pub received_at: Monotonic,
    pub octets: Vec<u8>,
    /// The reason to doubt the datagram, if its question or cookie was not as expected.
    pub strange: Option<Doubt>,
}

impl Kept {
    /// Whether the datagram has an answer, positive or negative. An error may be due to the form of the
    /// query, and a truncated message has no answer.
    pub fn answers(&self) -> bool {
        Message::open(&self.octets).is_ok_and(|m| !m.header().tc() && !is_error(full_rcode(&m)))
    }
}

impl Doubtful {
    /// Keeps the first datagram, or the first of which nothing is unusual.
    pub fn keep(&mut self, now: Monotonic, octets: &[u8], strange: Option<Doubt>) {
        let better = |kept: &Kept| kept.strange.is_some() && strange.is_none();
        if self.kept.as_ref().is_none_or(better) {
            self.kept = Some(Kept { received_at: now, octets: octets.to_vec(), strange });
        }
    }
}
