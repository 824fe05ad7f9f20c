//! Following the message bus: in a thread of its own, which may wait for a bus, or for somebody on it, that does not answer; nobody waits
//! for it but the start, and that briefly.

use super::bus::Bus;
use super::managers::{Heard, RULES, hear};
use mio::Waker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

/// The system's bus, below the root.
pub(super) const SOCKET: &str = "run/dbus/system_bus_socket";
/// While the host starts the socket is there before the bus is.
const BUS_PATIENCE: Duration = Duration::from_secs(60);
/// How long both managers may take to say what they know.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes come in bursts. Longer than the clock's step by which files are dated, so that no change has the date of one that was seen.
const SETTLE: Duration = Duration::from_millis(20);
/// Where resolved keeps what it was told of links: of domains and default routes it sends no signal, and what is in the directory is for nobody
/// else, but when it changed is. How often that is looked at, while resolved is there.
const TOLD: &str = "run/systemd/resolve/netif";
const LOOK: Duration = Duration::from_millis(100);
/// How soon a bus that was lost, or somebody on it who did not answer, is tried again, and for how long what was heard before still counts: somebody
/// who is restarted is back by then.
const AGAIN: Duration = Duration::from_millis(250);
const GRACE: Duration = Duration::from_secs(5);
/// How often somebody who is there and does not answer is asked.
const SELDOM: Duration = Duration::from_secs(60);
/// How long the start waits for a bus to answer at all, and then for what is said on it.
const START_BUS: Duration = Duration::from_millis(50);
const START: Duration = Duration::from_secs(1);

/// What the thread tells.
enum News {
    /// The bus answers.
    Greeted,
    Heard(Heard),
}

#[derive(Debug)]
pub(crate) struct BusFollower {
    news: Receiver<News>,
    /// To have it asked again; closed, the thread ends.
    poke: UnixStream,
    heard: Heard,
}

impl std::fmt::Debug for News {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if matches!(self, News::Greeted) { "the bus answers" } else { "something was heard" })
    }
}

impl BusFollower {
    /// Begins to follow, and wakes the loop by `waker`. Waits as long as it is likely that something is heard at once.
    ///
    /// # Errors
    /// If there is no thread or socket to be had.
    pub fn start(root: &Path, waker: Arc<Waker>) -> io::Result<BusFollower> {
        let (poke, poked) = UnixStream::pair()?;
        poke.set_nonblocking(true)?;
        poked.set_nonblocking(true)?;
        let (sender, news) = channel();
        let thread = Thread {
            socket: root.join(SOCKET),
            directory: root.join(TOLD),
            changed: None,
            poked,
            sender,
            waker,
            told: None,
        };
        std::thread::Builder::new().name("bus".to_owned()).spawn(move || thread.run())?;
        let mut follower = BusFollower { news, poke, heard: Heard::default() };
        let mut until = Instant::now() + START_BUS;
        while let Ok(news) = follower.news.recv_timeout(until.saturating_duration_since(Instant::now())) {
            match news {
                News::Greeted => until = Instant::now() + START,
                News::Heard(heard) => {
                    follower.heard = heard;
                    break;
                }
            }
        }
        Ok(follower)
    }

    /// Something has changed about which they may know more.
    pub fn ask_again(&self) {
        // A full socket is a thread that has been told often enough.
        let _ = (&self.poke).write(b"?");
    }

    /// Whether something else was heard.
    pub fn take(&mut self) -> bool {
        let mut changed = false;
        while let Ok(news) = self.news.try_recv() {
            if let News::Heard(heard) = news {
                changed |= heard != self.heard;
                self.heard = heard;
            }
        }
        changed
    }

    pub fn heard(&self) -> &Heard {
        &self.heard
    }
}

struct Thread {
    socket: PathBuf,
    directory: PathBuf,
    /// When that had changed before they were last asked.
    changed: Option<SystemTime>,
    poked: UnixStream,
    sender: Sender<News>,
    waker: Arc<Waker>,
    /// What was told last.
    told: Option<Heard>,
}

/// The daemon has done with us.
struct Over;

impl Thread {
    fn run(mut self) {
        let mut lost = None;
        while let Ok(()) = self.turn(&mut lost) {}
    }

    /// Follows a bus until it is lost, then waits until another try makes sense.
    fn turn(&mut self, lost: &mut Option<Instant>) -> Result<(), Over> {
        let error = match Bus::connect(&self.socket, BUS_PATIENCE) {
            Ok(mut bus) => {
                self.tell(News::Greeted)?;
                match self.follow(&mut bus, lost) {
                    Ok(over) => return Err(over),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let knows = self.told.as_ref().is_some_and(|heard| !heard.is_nothing());
        let since = lost.get_or_insert_with(Instant::now).elapsed();
        if knows && since < GRACE {
            return self.wait(Some(AGAIN)).map(drop);
        }
        log::debug!("the message bus at '{}': {error}", self.socket.display());
        self.hear(Heard::default())?;
        // One that is not there, or does not let us in, comes with a new file; one that is stuck may come back.
        let stuck = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        self.wait(stuck.then_some(SELDOM)).map(drop)
    }

    fn follow(&mut self, bus: &mut Bus, lost: &mut Option<Instant>) -> io::Result<Over> {
        let until = Instant::now() + PATIENCE;
        for rule in RULES {
            bus.follow(rule, until)?;
        }
        loop {
            self.changed = changed(&self.directory);
            let heard = hear(bus, Instant::now() + PATIENCE)?;
            let knew = self.told.as_ref();
            let gone = |of: fn(&Heard) -> bool| of(&heard) && knew.is_some_and(|told| !of(told));
            let left =
                gone(|heard| heard.resolved.is_none()) || gone(|heard| heard.network_manager.is_none());
            let again = if left && lost.get_or_insert_with(Instant::now).elapsed() < GRACE {
                Some(AGAIN)
            } else {
                *lost = None;
                if self.hear(heard).is_err() {
                    return Ok(Over);
                }
                None
            };
            if self.told_more(bus, again)?.is_err() {
                return Ok(Over);
            }
        }
    }

    /// Waits until they are to be asked again.
    fn told_more(&mut self, bus: &mut Bus, again: Option<Duration>) -> io::Result<Result<(), Over>> {
        if std::mem::take(&mut bus.told) {
            return Ok(Ok(()));
        }
        let mut until = again.map(|again| Instant::now() + again);
        let looks = self.told.as_ref().is_some_and(|heard| heard.resolved.is_some()).then_some(LOOK);
        let mut news = false;
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Ok(()));
            }
            let (told, poked) = ready(bus, &self.poked, left.into_iter().chain(looks).min())?;
            if poked && self.drain().is_err() {
                return Ok(Err(Over));
            }
            let told = told && bus.take(PATIENCE)?;
            let changed = looks.is_some() && changed(&self.directory) != self.changed;
            if (told || poked || changed) && !news {
                news = true;
                until = Some(Instant::now() + SETTLE);
            }
        }
    }

    /// Waits until we are poked, or so long.
    fn wait(&self, time: Option<Duration>) -> Result<(), Over> {
        let mut fds = [PollFd::new(self.poked.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout(time)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => self.drain(),
            Err(_) => Err(Over),
        }
    }

    fn drain(&self) -> Result<(), Over> {
        let mut octets = [0; 64];
        loop {
            match (&self.poked).read(&mut octets) {
                Ok(0) => return Err(Over),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Over),
            }
        }
    }

    fn hear(&mut self, heard: Heard) -> Result<(), Over> {
        if self.told.as_ref() == Some(&heard) {
            return Ok(());
        }
        self.told = Some(heard.clone());
        self.tell(News::Heard(heard))
    }

    fn tell(&self, news: News) -> Result<(), Over> {
        self.sender.send(news).map_err(|_| Over)?;
        self.waker.wake().map_err(|_| Over)
    }
}

fn changed(directory: &Path) -> Option<SystemTime> {
    std::fs::metadata(directory).and_then(|metadata| metadata.modified()).ok()
}

fn timeout(time: Option<Duration>) -> PollTimeout {
    // One millisecond more than asked for rather than one less, which would be a circle.
    time.map_or(PollTimeout::NONE, |time| {
        PollTimeout::try_from(time.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    })
}

fn ready(bus: &Bus, poked: &UnixStream, time: Option<Duration>) -> io::Result<(bool, bool)> {
    let mut fds =
        [PollFd::new(bus.as_fd(), PollFlags::POLLIN), PollFd::new(poked.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, timeout(time)) {
        Err(nix::errno::Errno::EINTR) => Ok((false, false)),
        Err(error) => Err(error.into()),
        Ok(_) => Ok((fds[0].any().unwrap_or(true), fds[1].any().unwrap_or(true))),
    }
}
