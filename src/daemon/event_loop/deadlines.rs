//! The deadlines at which the event loop wakes up without an event.

use crate::daemon::companion_child::CompanionChild;
use crate::daemon::event_loop::Daemon;
use crate::logging::Event;
use hither_table::Monotonic;

/// The reason for which the loop wakes up at a certain time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Deadline {
    /// The core: retransmissions, ends of rounds, replies with stale data.
    Rounds,
    /// Sockets to upstreams have waited long enough for late responses, or for their next query.
    UpstreamSockets,
    /// Connections to encrypted upstreams: a handshake or silence takes too long, or nothing needs one.
    Encrypted,
    /// Accepting is tried again at listeners that had no descriptor for a connection.
    Accept,
    /// TCP connections have been idle for too long, or the next queries may begin their rounds.
    Clients,
    /// A companion is started again after it has ended.
    CompanionStart,
    /// The service manager expects a watchdog notification.
    Watchdog,
    /// A message that the service manager did not take is sent again.
    ServiceManager,
    /// Queries of operators have waited long enough.
    Operators,
    /// A leased name is to be renewed.
    Leases,
    /// The daemon stops, and clients have waited long enough for their rounds.
    Drain,
    /// The cache is to be saved, or the table to be checked.
    Persist,
    /// The network has settled, or the configuration is to be read again.
    Reload,
}

impl Daemon {
    /// All deadlines, each with its time if it is set.
    fn deadlines(&mut self) -> [(Deadline, Option<Monotonic>); 13] {
        let supervision = &self.supervision;
        let companion = supervision.children.iter().filter_map(CompanionChild::timeout).min();
        let (watchdog, manager) = (supervision.watchdog.map(|(_, at)| at), supervision.manager.timeout());
        [
            (Deadline::Rounds, self.core.timeout()),
            (Deadline::UpstreamSockets, self.upstreams.timeout()),
            (Deadline::Encrypted, self.upstreams.encrypted().timeout()),
            (Deadline::Accept, self.shortage.timeout()),
            (Deadline::Clients, self.clients.timeout()),
            (Deadline::CompanionStart, companion),
            (Deadline::Watchdog, watchdog),
            (Deadline::ServiceManager, manager),
            (Deadline::Operators, self.admin.timeout()),
            (Deadline::Leases, self.admin.changes.timeout()),
            (Deadline::Drain, self.ending.draining),
            (Deadline::Persist, self.persist_timeout()),
            (Deadline::Reload, self.reload.timeout()),
        ]
    }

    /// Sets the alarm for the earliest deadline.
    pub(super) fn set_alarm(&mut self) {
        let due = self.deadlines().into_iter().filter_map(|(deadline, at)| Some((at?, deadline)));
        let next = due.min_by_key(|(at, _)| *at);
        if let Err(error) = self.housekeeping.alarm.set(next.map(|(at, _)| at)) {
            let deadline = next.map(|(_, deadline)| deadline);
            log::error!(
                event = Event::ClockTrouble, reason:% = error;
                "cannot set the timer for {deadline:?}: {error}; going on without it until the next event"
            );
        }
    }
}
