//! The daemon's feed of changes: a subscription to names, and what its connection receives.

use crate::handle::{Handle, Unusable};
use crate::sys::{self, Descriptor, Path, Received};
use core::ffi::c_int;
use core::time::Duration;
use hither_feed::{Cause, DATAGRAM_MAX, Datagram, Families, RECORD_MAX, Record, Refusal};
use hither_table::paths::CHANGES_SOCKET;
use hither_table::{Family, Monotonic, Wanted};
use hither_wire::name::Name;

/// A connection on which the daemon reports changes: no call on it waits, and it has close-on-exec. Its
/// owner closes it, and the names are no longer leased then.
#[derive(Debug)]
pub struct Subscribed(pub c_int);

/// Why there is no subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotSubscribed {
    /// There is no table, in which the names are looked up.
    Unusable(Unusable),
    /// The daemon does not take the names.
    Refused(Refusal),
    /// No daemon answers, or not in time: an error of errno(3).
    Failed(c_int),
}

/// A change of the address set of a name and family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// The name, in lower case.
    pub name: Name,
    /// The family that changed.
    pub family: Family,
    /// The kind of the change.
    pub cause: Cause,
    /// Whether versions were passed over that have no record of their own.
    pub coalesced: bool,
    /// The version of the set, or of its denial; 0 for [`Cause::Local`].
    pub version: u64,
    /// The version at which the addresses last changed; 0 if there are none.
    pub set_version: u64,
}

/// Why a subscription has no change at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoChange {
    /// There is nothing to read yet.
    Nothing,
    /// This reader was too slow, and changes were merged. A record follows for each name that has changed
    /// meanwhile.
    Gap,
    /// The daemon has ended, or has ended the subscription. Nothing more comes.
    Ended,
    /// The number is not that of a subscription.
    NotASubscription,
}

/// Subscribes to names at the daemon of a runtime directory, until the table's clock shows `until`. Changes
/// that are published after the return are reported.
///
/// # Errors
/// Why there is no subscription.
#[cold]
#[inline(never)]
pub fn subscribe(
    dir: &[u8],
    names: &mut dyn Iterator<Item = Name>,
    wanted: Wanted,
    until: Monotonic,
) -> Result<Subscribed, NotSubscribed> {
    let mut path = Path::new();
    let has_path = path.push(dir).and_then(|()| path.push_file(CHANGES_SOCKET));
    has_path.ok_or(NotSubscribed::Failed(libc::ENAMETOOLONG))?;
    let socket = sys::connect_local(&path, until).map_err(NotSubscribed::Failed)?;
    let families = match wanted {
        Wanted::One(Family::A) => Families::A,
        Wanted::One(Family::Aaaa) => Families::Aaaa,
        Wanted::Both => Families::Both,
    };
    let mut datagram = Datagram::new();
    for name in names {
        if datagram.add(families, &name).is_err() {
            exchange(&socket, &datagram, until)?;
            datagram.clear();
            // One name always fits.
            let _ = datagram.add(families, &name);
        }
    }
    exchange(&socket, &datagram, until)?;
    sys::into_waitless(socket).map(Subscribed).map_err(NotSubscribed::Failed)
}

const _: () = assert!(DATAGRAM_MAX > 2 + hither_wire::name::NAME_MAX);

/// Sends one datagram and waits for its answer. Changes of the names before it, which come meanwhile, are
/// dropped: the caller sees them when it looks the names up.
fn exchange(socket: &Descriptor, datagram: &Datagram, until: Monotonic) -> Result<(), NotSubscribed> {
    if datagram.is_empty() {
        return Ok(());
    }
    // The daemon may have closed a connection that is one too many, after saying so.
    let sent = sys::send_message(socket, datagram.octets(), until);
    let mut octets = [0; RECORD_MAX];
    loop {
        let len = sys::receive_message(socket, &mut octets, until);
        let len = len.map_err(|errno| NotSubscribed::Failed(sent.err().unwrap_or(errno)))?;
        match Record::read(octets.get(..len).unwrap_or_default()) {
            Ok(Record::Accepted { .. }) => return Ok(()),
            Ok(Record::Refused { reason, .. }) => return Err(NotSubscribed::Refused(reason)),
            Ok(Record::Change(_) | Record::Gap { .. }) | Err(_) => {}
        }
    }
}

/// The next change of a subscription, without waiting.
///
/// # Errors
/// A [`NoChange`].
#[cold]
#[inline(never)]
pub fn next_change(subscription: c_int) -> Result<Change, NoChange> {
    let mut octets = [0; RECORD_MAX];
    loop {
        let len = match sys::receive_now(subscription, &mut octets) {
            Received::Message(len) => len,
            Received::Nothing => return Err(NoChange::Nothing),
            Received::Closed => return Err(NoChange::Ended),
            Received::NoSocket => return Err(NoChange::NotASubscription),
        };
        match Record::read(octets.get(..len).unwrap_or_default()) {
            Ok(Record::Change(change)) => {
                if let Ok(name) = Name::from_wire(change.name) {
                    let hither_feed::Change { cause, family, coalesced, version, set_version, .. } = change;
                    return Ok(Change { name, family, cause, coalesced, version, set_version });
                }
            }
            Ok(Record::Gap { .. }) => return Err(NoChange::Gap),
            // An answer to a datagram of another part of the program, or a record of a newer daemon.
            Ok(Record::Accepted { .. } | Record::Refused { .. }) | Err(_) => {}
        }
    }
}

/// Waits until a subscription has something to read; `false` if the table's clock shows `until` before. May
/// return `true` too early, as after a signal.
pub fn wait_for_change(subscription: c_int, until: Monotonic) -> bool {
    sys::wait_for_message(subscription, until)
}

impl Handle {
    /// Subscribes to names, which must be in lower case, within `timeout`. See libhither(3),
    /// `hither_subscribe`.
    ///
    /// # Errors
    /// Why there is no subscription.
    #[cold]
    pub fn subscribe(
        &self,
        names: &mut dyn Iterator<Item = Name>,
        wanted: Wanted,
        timeout: Duration,
    ) -> Result<Subscribed, NotSubscribed> {
        self.open().map_err(NotSubscribed::Unusable)?;
        let dir = self.dir().ok_or(NotSubscribed::Unusable(Unusable::NoTable))?;
        subscribe(dir.octets(), names, wanted, sys::now().plus(timeout))
    }
}
