//! Reports what clients ask for to those who look at queries, and answers operators who ask for that.

use crate::daemon::admin::open_rounds;
use crate::daemon::clients::waiting_queries::Miss;
use crate::daemon::event_loop::Daemon;
use crate::daemon::insight::{ClientSocket, Missed};
use crate::daemon::sources::Slot;
use hither_net::clock;
use hither_net::seqpacket::Peer;
use hither_table::Monotonic;

/// An operator's connection, and the process at its other end.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    pub slot: Slot,
    pub peer: Peer,
}

impl Daemon {
    /// Puts the settings of the log of queries, and of dnstap, in force.
    pub(super) fn log_queries(&mut self, now: Monotonic) {
        let log = self.reload.config().log.clone();
        self.admin.insight.configure(&log, now);
        self.follow_insight();
    }

    /// Has the paths of hits show queries to those who look at them now.
    pub(super) fn follow_insight(&mut self) {
        if let Some(tap) = self.admin.insight.take_tap() {
            let logs_replies = self.admin.insight.logs_replies();
            self.clients.set_tap(tap, logs_replies);
            self.clients.update_workers(self.core.rounds());
        }
    }

    /// Reports a query that needs a round.
    pub(super) fn note_miss(&mut self, miss: &Miss, now: Monotonic) {
        let Miss { client, peer, question, .. } = miss;
        let (server, is_tcp) = self.clients.server_of(*client).unzip();
        let client = ClientSocket { address: *peer, is_tcp: is_tcp.unwrap_or_default() };
        let name = question.name;
        self.admin.insight.note_miss(Missed { name, client, server, at: now, unseen: 0 });
    }

    /// Tells an operator which names clients ask for, and which rounds are open.
    pub(super) fn report_to_operator(&mut self, operator: Operator, now: Monotonic) -> Result<(), String> {
        let Operator { slot, peer } = operator;
        let rounds = match self.admin.insight.recent_rounds(now) {
            Some(rounds) => rounds,
            None => {
                let began = clock::now();
                let rounds = open_rounds(self.core.rounds(), self.admin.labels(), now);
                self.admin.insight.store_rounds(rounds, began, clock::now())
            }
        };
        self.admin.insight.report(slot, is_ours(peer), rounds, now)?;
        self.follow_insight();
        Ok(())
    }
}

/// Whether a process is of root or of the daemon's own user.
pub(super) fn is_ours(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw()
}
