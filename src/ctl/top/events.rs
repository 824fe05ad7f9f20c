//! What the view waits for: keys, answers of the daemon, signals, and the end of the terminal.

use super::daemon::Answer;
use super::keys::Key;
use crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use hither_client::Monotonic;
use hither_net::clock::now;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::Builder;

/// Keys and answers that wait. A full queue makes their threads wait.
const EVENTS_MAX: usize = 256;

/// Something has happened.
#[derive(Debug)]
pub(super) enum Event {
    Key(Key),
    /// The screen has another size, or has to be drawn again.
    Resized,
    /// The process was continued after a stop.
    Continued,
    /// The process is asked to stop for a while.
    Stop,
    /// The process is asked to end.
    End,
    Answer(Answer),
    /// The terminal is gone, or cannot be read.
    Broken(String),
}

/// Hands events to the view and wakes it.
#[derive(Clone)]
pub(super) struct Sender {
    queue: mpsc::SyncSender<Event>,
    wake: Arc<EventFd>,
}

impl Sender {
    /// `false` if the view has ended.
    pub fn send(&self, event: Event) -> bool {
        // A counter that is full wakes the view already.
        self.queue.send(event).is_ok() && matches!(self.wake.write(1), Ok(_) | Err(Errno::EAGAIN))
    }
}

/// All sources of events.
pub(super) struct Events {
    queue: Receiver<Event>,
    wake: Arc<EventFd>,
    signals: SignalFd,
    sender: Sender,
}

fn handled() -> SigSet {
    use Signal::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT].into_iter().collect()
}

impl Events {
    /// Receives the signals as events. Called before any thread is started, since threads inherit that.
    pub fn new() -> io::Result<Events> {
        let set = handled();
        set.thread_block()?;
        let signals = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let wake = Arc::new(wake);
        let (send, queue) = mpsc::sync_channel(EVENTS_MAX);
        let sender = Sender { queue: send, wake: Arc::clone(&wake) };
        Ok(Events { queue, wake, signals, sender })
    }

    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Starts the thread that reads keys.
    pub fn read_keys(&self) -> io::Result<()> {
        let sender = self.sender();
        Builder::new().name("keys".to_owned()).spawn(move || send_keys(&sender)).map(|_| ())
    }

    /// Waits for events, at most until `end`, and takes all that are there.
    pub fn wait(&mut self, end: Monotonic) -> io::Result<Vec<Event>> {
        // Rounded up: a wait that ends early would be repeated.
        let left_ms = end.since(now()).as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(left_ms).unwrap_or(PollTimeout::MAX);
        let stdin = io::stdin();
        // Of the terminal only its end is waited for; keys are read by their thread.
        let mut fds = [
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_gone = fds[2].revents().is_some_and(|is| !is.is_empty());
        let mut events: Vec<Event> = std::iter::from_fn(|| self.signal()).collect();
        // Reading the counter sets it to zero; without an event it is zero already.
        let _ = self.wake.read();
        events.extend(self.queue.try_iter());
        if is_gone {
            events.push(Event::Broken("the terminal is gone".to_owned()));
        }
        Ok(events)
    }

    fn signal(&self) -> Option<Event> {
        loop {
            let info = self.signals.read_signal().ok()??;
            let number = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            match number {
                Some(Signal::SIGTSTP) => return Some(Event::Stop),
                Some(Signal::SIGCONT) => return Some(Event::Continued),
                Some(_) => return Some(Event::End),
                None => {}
            }
        }
    }
}

/// Stops this process, or with `group` all of its job, as the terminal does for Ctrl-Z. Returns when it is
/// continued.
pub(super) fn stop(group: bool) -> io::Result<()> {
    let set: SigSet = [Signal::SIGTSTP].into_iter().collect();
    let whom = if group { Pid::from_raw(0) } else { Pid::this() };
    kill(whom, Signal::SIGTSTP)?;
    // The signal arrives here, if it is not ignored.
    pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None)?;
    Ok(set.thread_block()?)
}

fn send_keys(sender: &Sender) {
    loop {
        let sent = match event::read() {
            Ok(event::Event::Key(key)) => key_of(key).is_none_or(|key| sender.send(Event::Key(key))),
            Ok(event::Event::Resize(..)) => sender.send(Event::Resized),
            Ok(_) => true,
            Err(error) => {
                let _ended = sender.send(Event::Broken(format!("the keyboard cannot be read: {error}")));
                return;
            }
        };
        if !sent {
            return;
        }
    }
}

fn key_of(event: KeyEvent) -> Option<Key> {
    if event.kind == KeyEventKind::Release {
        return None;
    }
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char('z') if control => Key::Suspend,
        KeyCode::Char('l') if control => Key::Redraw,
        KeyCode::Char(_) if control || event.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
