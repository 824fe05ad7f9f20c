//! The links that the managers publish on the message bus, in one value.

use super::dbus::Connection;
use super::link::Link;
use super::network_manager::{self, NetworkManagerLinks};
use super::resolved;
use std::io;
use std::time::Instant;

/// The signals by which a change is noticed: a manager starts or stops, or its properties change.
pub(super) const MATCH_RULES: [&str; 6] = [
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'",
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.NetworkManager'",
    "type='signal',sender='org.freedesktop.resolve1',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path='/org/freedesktop/NetworkManager/DnsManager',interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path_namespace='/org/freedesktop/NetworkManager/IP4Config',member='PropertiesChanged'",
    "type='signal',sender='org.freedesktop.NetworkManager',path_namespace='/org/freedesktop/NetworkManager/IP6Config',member='PropertiesChanged'",
];

/// The links that the managers publish on the message bus.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct BusLinks {
    /// The links of systemd-resolved, if it runs.
    pub resolved: Option<Vec<Link>>,
    /// The links that it named last, if it has stopped since.
    pub resolved_before: Option<Vec<Link>>,
    /// The links of NetworkManager, if it runs.
    pub network_manager: Option<NetworkManagerLinks>,
}

impl BusLinks {
    /// Whether no manager runs.
    pub fn is_empty(&self) -> bool {
        *self == BusLinks::default()
    }
}

/// Asks both managers for their links.
pub(super) fn ask(bus: &mut Connection, until: Instant) -> io::Result<BusLinks> {
    Ok(BusLinks {
        resolved: resolved::links(bus, until)?,
        resolved_before: None,
        network_manager: network_manager::links(bus, until)?,
    })
}
