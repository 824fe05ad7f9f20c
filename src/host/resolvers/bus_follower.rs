//! Follows the links that managers publish on the message bus. This has a thread of its own, since a
//! bus, or a program on it, may not answer. Only the start of the daemon waits for it, and briefly.

use super::dbus::Connection;
use super::managers::{BusLinks, MATCH_RULES, ask};
use mio::Waker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// The socket of the system's bus, below the root directory.
pub(super) const SOCKET: &str = "run/dbus/system_bus_socket";
/// How long a connection may take: while the host starts the socket exists before the bus does.
const CONNECT_WITHIN: Duration = Duration::from_secs(60);
/// How long both managers may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Pause before managers are asked again, since changes come in bursts. It is longer than the step of
/// the clock that dates files, so that no later change has the date of one that was seen.
const SETTLE: Duration = Duration::from_millis(20);
/// The directory in which systemd-resolved stores the domains and default routes of links. It sends
/// no signal when they change, but the date of the directory changes with them. The files are
/// private to it and are not read.
const RESOLVED_STATE: &str = "run/systemd/resolve/netif";
/// How often the date of [`RESOLVED_STATE`] is read while systemd-resolved runs.
const READ_STATE_EVERY: Duration = Duration::from_millis(100);
/// Pause before a lost bus or a silent manager is asked again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How long the last known links stay in force without the bus or a manager: one that is restarted is
/// back by then.
const KEEP_LINKS_FOR: Duration = Duration::from_secs(5);
/// Pause between attempts while the bus is there and does not answer.
const RETRY_STUCK_AFTER: Duration = Duration::from_secs(60);
/// How long the start waits for the first answer of the bus.
const START_BUS_WITHIN: Duration = Duration::from_millis(50);
/// How long the start waits for links after the bus has answered.
const START_LINKS_WITHIN: Duration = Duration::from_secs(1);

/// A report of the thread to the event loop.
#[derive(Debug)]
enum Report {
    /// The connection is established.
    Connected,
    /// The managers published these links.
    Links(BusLinks),
}

/// The follower as the event loop sees it.
#[derive(Debug)]
pub(crate) struct BusFollower {
    reports: Receiver<Report>,
    /// An octet makes the thread ask the managers again; closing it ends the thread.
    wake: UnixStream,
    links: BusLinks,
}

impl BusFollower {
    /// Starts the thread, which wakes the event loop by `waker` when it reports. Waits for the first
    /// links as long as they are likely to come soon.
    ///
    /// # Errors
    /// If the thread or its socket cannot be created.
    pub fn start(root: &Path, waker: Arc<Waker>) -> io::Result<BusFollower> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (sender, reports) = channel();
        let thread = Thread {
            socket: root.join(SOCKET),
            state_dir: root.join(RESOLVED_STATE),
            state_date: None,
            woken,
            sender,
            waker,
            reported: None,
        };
        std::thread::Builder::new().name("bus".to_owned()).spawn(move || thread.run())?;
        let mut follower = BusFollower { reports, wake, links: BusLinks::default() };
        let mut until = Instant::now() + START_BUS_WITHIN;
        while let Ok(report) = follower.reports.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            match report {
                Report::Connected => until = Instant::now() + START_LINKS_WITHIN,
                Report::Links(links) => {
                    follower.links = links;
                    break;
                }
            }
        }
        Ok(follower)
    }

    /// Makes the thread ask the managers again, after a change that may concern their links.
    pub fn ask_again(&self) {
        // If the socket is full the thread has enough reasons to ask.
        let _ = (&self.wake).write(b"?");
    }

    /// Takes the reports of the thread. Returns whether the links have changed.
    pub fn take_changes(&mut self) -> bool {
        let mut changed = false;
        while let Ok(report) = self.reports.try_recv() {
            if let Report::Links(mut links) = report {
                if links.resolved.is_none() {
                    let before = self.links.resolved.take().or_else(|| self.links.resolved_before.take());
                    links.resolved_before = before;
                }
                changed |= links != self.links;
                self.links = links;
            }
        }
        changed
    }

    /// The links that were reported last.
    pub fn links(&self) -> &BusLinks {
        &self.links
    }
}

struct Thread {
    socket: PathBuf,
    state_dir: PathBuf,
    /// The date of `state_dir` before the managers were asked last.
    state_date: Option<SystemTime>,
    woken: UnixStream,
    sender: Sender<Report>,
    waker: Arc<Waker>,
    /// The links that were reported last.
    reported: Option<BusLinks>,
}

/// The event loop has dropped its [`BusFollower`], and the thread ends.
struct Ended;

/// The descriptors that are readable.
struct Readable {
    bus: bool,
    woken: bool,
}

impl Thread {
    fn run(mut self) {
        let mut lost_since = None;
        while let Ok(()) = self.follow_until_lost(&mut lost_since) {}
    }

    /// Follows the bus until it is lost, then waits until another attempt makes sense.
    fn follow_until_lost(&mut self, lost_since: &mut Option<Instant>) -> Result<(), Ended> {
        let error = match Connection::connect(&self.socket, CONNECT_WITHIN) {
            Ok(mut bus) => {
                self.send(Report::Connected)?;
                match self.follow(&mut bus, lost_since) {
                    Ok(ended) => return Err(ended),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let has_links = self.reported.as_ref().is_some_and(|links| !links.is_empty());
        let lost_for = lost_since.get_or_insert_with(Instant::now).elapsed();
        if has_links && lost_for < KEEP_LINKS_FOR {
            return self.sleep(Some(RETRY_AFTER));
        }
        log::debug!("the message bus at '{}': {error}", self.socket.display());
        self.report(BusLinks::default())?;
        // When a bus starts, or lets this user in, the file of its socket changes, and the event loop
        // wakes this thread. A bus that is stuck gives no such sign.
        let is_stuck = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        self.sleep(is_stuck.then_some(RETRY_STUCK_AFTER))
    }

    /// Reports the links of the managers and each change of them, until the bus fails.
    fn follow(&mut self, bus: &mut Connection, lost_since: &mut Option<Instant>) -> io::Result<Ended> {
        let until = Instant::now() + ANSWER_WITHIN;
        for rule in MATCH_RULES {
            bus.subscribe(rule, until)?;
        }
        loop {
            self.state_date = date(&self.state_dir);
            let links = ask(bus, Instant::now() + ANSWER_WITHIN)?;
            let before = self.reported.as_ref();
            let has_gone =
                |lacks: fn(&BusLinks) -> bool| lacks(&links) && before.is_some_and(|links| !lacks(links));
            let manager_has_gone = has_gone(|links| links.resolved.is_none())
                || has_gone(|links| links.network_manager.is_none());
            let retry = if manager_has_gone
                && lost_since.get_or_insert_with(Instant::now).elapsed() < KEEP_LINKS_FOR
            {
                Some(RETRY_AFTER)
            } else {
                *lost_since = None;
                if self.report(links).is_err() {
                    return Ok(Ended);
                }
                None
            };
            if self.wait_for_change(bus, retry)?.is_err() {
                return Ok(Ended);
            }
        }
    }

    /// Waits until the managers have to be asked again, `retry` at the longest.
    fn wait_for_change(
        &mut self,
        bus: &mut Connection,
        retry: Option<Duration>,
    ) -> io::Result<Result<(), Ended>> {
        if std::mem::take(&mut bus.has_signal) {
            return Ok(Ok(()));
        }
        let mut until = retry.map(|retry| Instant::now() + retry);
        let has_resolved = self.reported.as_ref().is_some_and(|links| links.resolved.is_some());
        let interval = has_resolved.then_some(READ_STATE_EVERY);
        let mut is_settling = false;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Ok(()));
            }
            let readable = wait_readable(bus, &self.woken, left.into_iter().chain(interval).min())?;
            if readable.woken && self.drain().is_err() {
                return Ok(Err(Ended));
            }
            let has_signal = readable.bus && bus.receive(ANSWER_WITHIN)?;
            let has_new_state = has_resolved && date(&self.state_dir) != self.state_date;
            if (has_signal || readable.woken || has_new_state) && !is_settling {
                is_settling = true;
                until = Some(Instant::now() + SETTLE);
            }
        }
    }

    /// Waits until the event loop wakes the thread, or for `time`.
    fn sleep(&self, time: Option<Duration>) -> Result<(), Ended> {
        let mut fds = [PollFd::new(self.woken.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(time)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => self.drain(),
            Err(_) => Err(Ended),
        }
    }

    /// Reads the octets by which the event loop woke the thread.
    fn drain(&self) -> Result<(), Ended> {
        let mut octets = [0; 64];
        loop {
            match (&self.woken).read(&mut octets) {
                Ok(0) => return Err(Ended),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ended),
            }
        }
    }

    fn report(&mut self, links: BusLinks) -> Result<(), Ended> {
        if self.reported.as_ref() == Some(&links) {
            return Ok(());
        }
        self.reported = Some(links.clone());
        self.send(Report::Links(links))
    }

    fn send(&self, report: Report) -> Result<(), Ended> {
        self.sender.send(report).map_err(|_| Ended)?;
        self.waker.wake().map_err(|_| Ended)
    }
}

/// When a directory was modified last.
fn date(directory: &Path) -> Option<SystemTime> {
    std::fs::metadata(directory).and_then(|metadata| metadata.modified()).ok()
}

fn timeout(time: Option<Duration>) -> PollTimeout {
    // Rounded up to whole milliseconds: rounded down, the last millisecond would be spent in a busy loop.
    time.map_or(PollTimeout::NONE, |time| {
        PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    })
}

fn wait_readable(bus: &Connection, woken: &UnixStream, time: Option<Duration>) -> io::Result<Readable> {
    let mut fds =
        [PollFd::new(bus.as_fd(), PollFlags::POLLIN), PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout(time)) {
        Err(nix::errno::Errno::EINTR) => Ok(Readable { bus: false, woken: false }),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(Readable { bus: fds[0].any().unwrap_or(true), woken: fds[1].any().unwrap_or(true) }),
    }
}
