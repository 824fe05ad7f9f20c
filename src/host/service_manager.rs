//! Notifies the service manager (sd_notify(3)) without ever blocking. Without a service manager nothing
//! is sent. If it does not take a message, the program goes on and sends it again later.

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

/// Pause before a message that was not taken is sent again. It doubles while nothing is taken.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The kinds of messages. At most one message of each kind waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Reloading,
    Ready,
    Stopping,
    Status,
    Alive,
}

impl Kind {
    /// Whether a waiting message of this kind is dropped because `newer` replaces it. The end of a
    /// reload does not replace its start: the service manager has to receive both.
    fn is_replaced_by(self, newer: Kind) -> bool {
        match newer {
            Kind::Reloading | Kind::Stopping => self != Kind::Alive,
            Kind::Ready => matches!(self, Kind::Ready | Kind::Status),
            Kind::Status | Kind::Alive => self == newer,
        }
    }
}

/// The connection to the service manager, and the messages that it has not taken yet.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    waiting: VecDeque<(Kind, String)>,
    pause: Duration,
    /// When the waiting messages are sent again.
    retry_at: Option<Monotonic>,
    /// Whether the log has a line that the service manager takes no messages.
    is_logged: bool,
}

impl ServiceManager {
    /// The service manager that the environment names, if it names one.
    pub fn new() -> ServiceManager {
        ServiceManager::at(std::env::var_os("NOTIFY_SOCKET").as_deref())
    }

    fn at(name: Option<&OsStr>) -> ServiceManager {
        let socket =
            name.and_then(|name| open(name).map_err(|error| warn(&error, "sending no notifications")).ok());
        ServiceManager {
            socket,
            waiting: VecDeque::new(),
            pause: RETRY_MIN,
            retry_at: None,
            is_logged: false,
        }
    }

    /// Whether a service manager started the program and takes notifications.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    pub fn ready(&mut self, status: &str) {
        self.queue(Kind::Ready, &[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    pub fn status(&mut self, status: &str) {
        self.queue(Kind::Status, &[NotifyState::Status(&one_line(status))]);
    }

    pub fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.queue(Kind::Reloading, &[NotifyState::Reloading, now]),
            Err(error) => log::warn!(
                event = Event::ClockTrouble, reason:% = error;
                "the clock cannot be read: {error}, ignoring"
            ),
        }
    }

    pub fn stopping(&mut self, why: &str) {
        self.queue(Kind::Stopping, &[NotifyState::Stopping, NotifyState::Status(&one_line(why))]);
    }

    pub fn alive(&mut self) {
        self.queue(Kind::Alive, &[NotifyState::Watchdog]);
    }

    fn queue(&mut self, kind: Kind, states: &[NotifyState<'_>]) {
        if self.socket.is_some() {
            self.waiting.retain(|(waiting, _)| !waiting.is_replaced_by(kind));
            self.waiting.push_back((kind, states.iter().map(|state| format!("{state}\n")).collect()));
            self.send();
        }
    }

    /// When the waiting messages are due to be sent again; `None` if there are none.
    pub fn timeout(&self) -> Option<Monotonic> {
        // Until the first retry has set a time, they are due at once.
        (!self.waiting.is_empty()).then(|| self.retry_at.unwrap_or(Monotonic(0)))
    }

    /// Sends the waiting messages again if they are due.
    pub fn try_again(&mut self, now: Monotonic) {
        if self.timeout().is_none_or(|at| now < at) {
            return;
        }
        self.send();
        if !self.waiting.is_empty() {
            self.retry_at = Some(now.plus(self.pause));
            self.pause = (self.pause * 2).min(RETRY_MAX);
        }
    }

    /// Sends the waiting messages in order, until one is not taken.
    fn send(&mut self) {
        let Some((socket, address)) = &self.socket else { return };
        while let Some((_, text)) = self.waiting.front() {
            if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
                if !std::mem::replace(&mut self.is_logged, true) {
                    warn(&error, "trying again");
                }
                return;
            }
            self.waiting.pop_front();
        }
        (self.pause, self.retry_at, self.is_logged) = (RETRY_MIN, None, false);
    }
}

/// A non-blocking socket, and the address to send to. A name that begins with '@' is in the abstract
/// namespace (unix(7)).
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
        "the service manager cannot be notified: {error}, {consequence}"
    );
}

fn one_line(status: &str) -> String {
    status.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How often the watchdog has to be notified: half of the time that the service manager allows.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The socket of a service manager, and the sender of its notifications.
    fn service_manager(name: &str) -> (UnixDatagram, ServiceManager) {
        let name = format!("hither {} {name}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("free");
        socket.set_nonblocking(true).expect("an option");
        (socket, ServiceManager::at(Some(OsStr::new(&format!("@{name}")))))
    }

    /// The first line of each message that was received.
    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut octets = [0; 256];
        let messages = std::iter::from_fn(|| socket.recv(&mut octets).ok().map(|len| octets[..len].to_vec()));
        messages
            .map(|octets| String::from_utf8_lossy(&octets).lines().next().unwrap_or("").to_owned())
            .collect()
    }

    /// Sends to the socket until its queue is full.
    fn fill(socket: &UnixDatagram) {
        let other = UnixDatagram::unbound().expect("a socket");
        other.set_nonblocking(true).expect("an option");
        let address = socket.local_addr().expect("bound");
        while other.send_to_addr(b"X=1\n", &address).is_ok() {}
    }

    #[test]
    fn messages_that_are_not_taken_are_sent_later_in_order_without_blocking() {
        let (socket, mut manager) = service_manager("full");
        manager.ready("at first");
        assert_eq!((received(&socket), manager.timeout()), (vec!["READY=1".to_owned()], None));
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
        assert_eq!(manager.timeout(), Some(start.plus(RETRY_MIN)));
        assert!(received(&socket).iter().all(|line| line == "X=1"), "none of ours was taken");
        manager.try_again(start.plus(RETRY_MIN / 2));
        assert!(received(&socket).is_empty(), "it is not due");
        manager.try_again(start.plus(RETRY_MIN));
        assert_eq!(received(&socket), ["RELOADING=1", "WATCHDOG=1", "READY=1"]);
        assert_eq!(manager.timeout(), None);
    }

    #[test]
    fn waiting_messages_are_bounded_and_sent_again_once_a_second() {
        let (socket, mut manager) = service_manager("deaf");
        drop(socket);
        let mut now = Monotonic::from_ms(5000);
        for _ in 0..100 {
            manager.alive();
            manager.reloading();
            manager.ready("a");
            manager.status("b");
            manager.try_again(now);
            assert!(manager.waiting.len() <= 4);
            let next = manager.timeout().expect("it is tried again");
            assert!(next > now && next <= now.plus(RETRY_MAX));
            now = next;
        }
        manager.stopping("the end");
        assert_eq!(
            manager.waiting.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [Kind::Alive, Kind::Stopping]
        );
    }
}
