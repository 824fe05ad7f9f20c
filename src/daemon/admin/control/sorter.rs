//! The sorter at its socket: orders of addresses, explanations and counts.

use super::{Control, Message};
use crate::daemon::admin::companion::Companion;
use crate::daemon::admin::sorter_counts::SorterTotals;
use crate::daemon::admin::sorter_order::parse_order;
use crate::daemon::sources::Slot;
use hither_control::{Explain, SorterMessage, SorterReply, SorterStatus, VERSION};
use hither_table::SorterMetrics;

/// What the daemon knows of the sorter.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    status: SorterStatus,
    totals: SorterTotals,
}

impl Sorter {
    pub fn connected(&mut self, process: i32) {
        self.totals.connected(process);
        self.status = SorterStatus { connected: true, pid: Some(process), ..SorterStatus::default() };
    }

    pub fn disconnected(&mut self) {
        self.totals.disconnected();
        (self.status.connected, self.status.pid) = (false, None);
    }
}

impl Control {
    /// The latest report of the sorter.
    pub fn sorter_status(&self) -> &SorterStatus {
        &self.sorter.status
    }

    /// What all sorters have done, if that has changed since the last call.
    pub fn take_sorter_metrics(&mut self) -> Option<SorterMetrics> {
        self.sorter.totals.take_changed()
    }

    /// Asks the sorter about the addresses of a set. Whether it is connected, and takes the request.
    pub fn ask_sorter(&mut self, request: &Explain) -> bool {
        self.send_to(Companion::Sorter, &SorterReply::Explain(request.clone()))
    }

    pub(super) fn on_sorter_message(&mut self, slot: Slot, message: SorterMessage) -> Message {
        match message {
            SorterMessage::Hello { version, lacks } => {
                let unwelcome = |reason| SorterReply::Unwelcome { reason };
                if !self.welcome(slot, Companion::Sorter, (version, VERSION), unwelcome) {
                    return Message::Handled;
                }
                self.sorter.status.lacks = lacks;
            }
            SorterMessage::Explained(said) => return Message::Explained(Box::new(said)),
            SorterMessage::Stats(counts) => {
                self.sorter.status.probes = counts.sent;
                self.sorter.totals.note(counts);
            }
            SorterMessage::Order(words) => {
                self.sorter.status.orders += 1;
                if let Some(order) = parse_order(&words) {
                    return Message::Order(Box::new(order));
                }
                self.errors += 1;
                let reason = "its name or type is invalid".to_owned();
                self.reply(slot, &SorterReply::Rejected { reason, set_version: None });
            }
        }
        Message::Handled
    }
}
