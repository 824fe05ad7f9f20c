//! What the service manager is told, without ever waiting for it. Outside of one, nothing happens; if it cannot be told, the service goes on.

use crate::logging::Event;
use hither_table::Monotonic;
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How soon what it has not taken is tried again, doubled up to the other while it takes nothing.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// The kinds of messages. Of each kind at most one waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Reloading,
    Ready,
    Stopping,
    Status,
    Alive,
}

impl Kind {
    /// Whether one that waits has nothing more to say once `newer` is there. That a reload has begun has to be heard before its end is.
    fn is_void_beside(self, newer: Kind) -> bool {
        match newer {
            Kind::Reloading | Kind::Stopping => self != Kind::Alive,
            Kind::Ready => matches!(self, Kind::Ready | Kind::Status),
            Kind::Status | Kind::Alive => self == newer,
        }
    }
}

/// The way to the service manager, and what it has not taken yet.
#[derive(Debug)]
pub(crate) struct Manager {
    to: Option<(UnixDatagram, SocketAddr)>,
    owed: VecDeque<(Kind, String)>,
    pause: Duration,
    again: Option<Monotonic>,
    /// The log was told that it takes nothing.
    is_told: bool,
}

impl Manager {
    /// The one that the environment names, if it names one.
    pub fn new() -> Manager {
        Manager::at(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    fn at(name: Option<&OsStr>) -> Manager {
        let to = name.and_then(|name| open(name).map_err(|error| warn(&error, "and is told nothing")).ok());
        Manager { to, owed: VecDeque::new(), pause: AGAIN, again: None, is_told: false }
    }

    pub fn ready(&mut self, status: &str) {
        self.tell(Kind::Ready, &[NotifyState::Ready, NotifyState::Status(&line(status))]);
    }

    pub fn status(&mut self, status: &str) {
        self.tell(Kind::Status, &[NotifyState::Status(&line(status))]);
    }

    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(Kind::Reloading, &[NotifyState::Reloading, now]),
            Err(error) => log::warn!(
                event = Event::ClockTrouble, reason:% = error;
                "the clock cannot be read: {error}, ignoring"
            ),
        }
    }

    pub fn stopping(&mut self, why: &str) {
        self.tell(Kind::Stopping, &[NotifyState::Stopping, NotifyState::Status(&line(why))]);
    }

    pub fn alive(&mut self) {
        self.tell(Kind::Alive, &[NotifyState::Watchdog]);
    }

    fn tell(&mut self, kind: Kind, states: &[NotifyState<'_>]) {
        if self.to.is_some() {
            self.owed.retain(|(owed, _)| !owed.is_void_beside(kind));
            self.owed.push_back((kind, states.iter().map(|state| format!("{state}\n")).collect()));
            self.send();
        }
    }

    /// When what it has not taken is to be tried again.
    pub fn timeout(&self) -> Option<Monotonic> {
        // Before the first try again there is no time for it: it is due.
        (!self.owed.is_empty()).then(|| self.again.unwrap_or(Monotonic(0)))
    }

    /// Tries again what it has not taken, where it is time.
    pub fn try_again(&mut self, now: Monotonic) {
        if self.timeout().is_none_or(|at| now < at) {
            return;
        }
        self.send();
        if !self.owed.is_empty() {
            self.again = Some(now.plus(self.pause));
            self.pause = (self.pause * 2).min(AGAIN_MAX);
        }
    }

    /// Sends what is owed, in its order, as far as it is taken at once.
    fn send(&mut self) {
        let Some((socket, address)) = &self.to else { return };
        while let Some((_, text)) = self.owed.front() {
            if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
                if !std::mem::replace(&mut self.is_told, true) {
                    warn(&error, "trying again");
                }
                return;
            }
            self.owed.pop_front();
        }
        (self.pause, self.again, self.is_told) = (AGAIN, None, false);
    }
}

/// A socket that does not wait, and where to send. A name that begins with '@' is one in the abstract namespace (unix(7)).
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address?))
}

fn warn(error: &io::Error, consequence: &str) {
    log::warn!(
        event = Event::ManagerUnheard, reason:% = error;
        "the service manager cannot be told anything: {error}, {consequence}"
    );
}

fn line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How often it wants to hear that we are alive: half of what it allows.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service manager at a name of its own, and what it hears from.
    fn managed(name: &str) -> (UnixDatagram, Manager) {
        let name = format!("hither {} {name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("nobody else's");
        socket.set_nonblocking(true).expect("an option");
        (socket, Manager::at(Some(OsStr::new(&format!("@{name}")))))
    }

    /// All that has come, each message's first line.
    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut octets = [0; 256];
        let messages = std::iter::from_fn(|| socket.recv(&mut octets).ok().map(|len| octets[..len].to_vec()));
        messages
            .map(|octets| String::from_utf8_lossy(&octets).lines().next().unwrap_or("").to_owned())
            .collect()
    }

    /// Sends to it until it takes no more.
    fn fill(socket: &UnixDatagram) {
        let other = UnixDatagram::unbound().expect("a socket");
        other.set_nonblocking(true).expect("an option");
        let address = socket.local_addr().expect("bound");
        while other.send_to_addr(b"X=1\n", &address).is_ok() {}
    }

    #[test]
    fn what_a_manager_does_not_take_is_told_later_in_its_order_and_nobody_waits() {
        let (socket, mut manager) = managed("full");
        manager.ready("at first");
        assert_eq!((heard(&socket), manager.timeout()), (vec!["READY=1".to_owned()], None));
        fill(&socket);
        manager.status("before");
        manager.alive();
        manager.reloading();
        manager.alive();
        manager.status("meanwhile");
        manager.ready("after");
        let start = Monotonic::from_ms(5000);
        assert!(manager.timeout().is_some_and(|at| at <= start));
        manager.try_again(start);
        assert_eq!(manager.timeout(), Some(start.plus(AGAIN)));
        assert!(heard(&socket).iter().all(|line| line == "X=1"), "nothing of it was taken");
        manager.try_again(start.plus(AGAIN / 2));
        assert!(heard(&socket).is_empty(), "it is not time");
        manager.try_again(start.plus(AGAIN));
        assert_eq!(heard(&socket), ["RELOADING=1", "WATCHDOG=1", "READY=1"]);
        assert_eq!(manager.timeout(), None);
    }

    #[test]
    fn what_waits_is_bounded_and_who_takes_nothing_is_tried_once_a_second() {
        let (socket, mut manager) = managed("deaf");
        drop(socket);
        let mut now = Monotonic::from_ms(5000);
        for _ in 0..100 {
            manager.alive();
            manager.reloading();
            manager.ready("a");
            manager.status("b");
            manager.try_again(now);
            assert!(manager.owed.len() <= 4);
            let next = manager.timeout().expect("it is tried again");
            assert!(next > now && next <= now.plus(AGAIN_MAX));
            now = next;
        }
        manager.stopping("the end");
        assert_eq!(
            manager.owed.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [Kind::Alive, Kind::Stopping]
        );
    }
}
