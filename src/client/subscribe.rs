//! Subscriptions: the daemon keeps names fresh and reports each change of their address sets.

use crate::{Table, raw};
use hither_native::{NoChange, NotSubscribed, Subscribed};
use hither_table::{Family, Monotonic, Wanted};
use hither_wire::name::Name;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

pub use hither_feed::{Cause, Refusal};

/// How long the daemon may take to accept names.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no subscription.
#[derive(Debug)]
pub enum SubscribeError {
    /// The daemon does not take the names, or one more subscriber.
    Refused(Refusal),
    /// No daemon answers, or this user may not ask it.
    NoDaemon(io::Error),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the daemon refuses the subscription: {reason}"),
            Self::NoDaemon(error) => write!(f, "the daemon's socket of changes: {error}"),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(reason) => Some(reason),
            Self::NoDaemon(error) => Some(error),
        }
    }
}

/// A change of the address set of a name and family. The table has had it before it was reported, so a
/// lookup gives the set of that version or a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Change {
    /// The name, in lower case.
    pub name: Name,
    /// The family that changed.
    pub family: Family,
    /// The kind of the change.
    pub cause: Cause,
    /// Whether versions were passed over that have no report of their own.
    pub coalesced: bool,
    /// The version of the set, or of its denial. For [`Cause::Gone`] the last one that the table had; 0 for
    /// [`Cause::Local`].
    pub version: u64,
    /// The version at which the addresses last changed; 0 if there are none.
    pub set_version: u64,
}

/// Why changes do not simply go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// Changes were merged, since they were not read for long. The latest state of each name that has changed
    /// meanwhile follows.
    Gap,
    /// The daemon has ended, or has ended the subscription. Subscribe again, and look the names up.
    Ended,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gap => "changes were merged, since they were read too slowly",
            Self::Ended => "the daemon has ended the subscription",
        })
    }
}

impl std::error::Error for Missed {}

/// A subscription. Its descriptor, for an event loop of the program's own, becomes readable when
/// [`Subscription::try_next`] has something. Calls on the descriptor do not wait, and execve closes it.
///
/// It ends when it is dropped; then the daemon no longer keeps the names fresh.
///
/// ```no_run
/// use hither_client::{Missed, Snapshot, Table, Wanted};
/// use std::time::Duration;
///
/// let table = Table::open(None)?;
/// let names = ["www.example.com".parse()?, "mail.example.com".parse()?];
/// let changes = table.subscribe(&names, Wanted::Both)?;
/// // First subscribe, then look up: no change is missed in between.
/// let mut entry = Snapshot::new();
/// for name in &names {
///     let _ = table.lookup(name, &mut entry);
/// }
/// loop {
///     match changes.next(Duration::from_secs(3600)) {
///         Ok(Some(change)) => println!("{} has version {}", change.name, change.version),
///         Ok(None) => println!("nothing has changed for an hour"),
///         Err(Missed::Gap) => {}
///         Err(Missed::Ended) => break, // Subscribe again.
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Subscription(OwnedFd);

impl Subscription {
    /// The next change, if there is one already.
    ///
    /// # Errors
    /// A [`Missed`]. After [`Missed::Ended`] nothing else comes.
    pub fn try_next(&self) -> Result<Option<Change>, Missed> {
        match hither_native::next_change(self.0.as_raw_fd()) {
            Ok(change) => {
                let hither_native::Change { name, family, cause, coalesced, version, set_version } = change;
                Ok(Some(Change { name, family, cause, coalesced, version, set_version }))
            }
            Err(NoChange::Nothing) => Ok(None),
            Err(NoChange::Gap) => Err(Missed::Gap),
            Err(NoChange::Ended | NoChange::NotASubscription) => Err(Missed::Ended),
        }
    }

    /// Waits for the next change, at most for `timeout`; `None` if there is none.
    ///
    /// # Errors
    /// As [`Subscription::try_next`].
    pub fn next(&self, timeout: Duration) -> Result<Option<Change>, Missed> {
        let until = Monotonic::now().plus(timeout);
        loop {
            let next = self.try_next();
            if next != Ok(None) || !hither_native::wait_for_change(self.0.as_raw_fd(), until) {
                return next;
            }
        }
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Subscription {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Table {
    /// Subscribes to names. While the subscription exists, the daemon resolves them before they expire,
    /// although no program asks for them, and reports every change that it publishes after the return of this
    /// function. So look the names up after it, not before. Takes two seconds at most.
    ///
    /// # Errors
    /// A [`SubscribeError`]; [`Refusal`] has the daemon's bounds for one user and for all, see `[feed]` in
    /// hither.toml(5).
    pub fn subscribe(&self, names: &[Name], wanted: Wanted) -> Result<Subscription, SubscribeError> {
        let until = Monotonic::now().plus(ACCEPTED_WITHIN);
        let mut names = names.iter().map(Name::to_lower);
        match hither_native::subscribe(self.dir.as_os_str().as_bytes(), &mut names, wanted, until) {
            Ok(Subscribed(number)) => Ok(Subscription(raw::descriptor(number))),
            Err(NotSubscribed::Refused(reason)) => Err(SubscribeError::Refused(reason)),
            Err(NotSubscribed::Failed(errno)) => {
                Err(SubscribeError::NoDaemon(io::Error::from_raw_os_error(errno)))
            }
            // The daemon's directory was given, and no table was opened.
            Err(NotSubscribed::Unusable(_)) => {
                Err(SubscribeError::NoDaemon(io::Error::from(io::ErrorKind::NotFound)))
            }
        }
    }
}
