//! The thread that takes the steps of handshakes. Key exchanges and signatures take up to a millisecond
//! each, and queries of clients are not to wait for them.
//!
//! A step takes the session of a connection with its socket, and gives it back with what happened. So each
//! connection has at most one step under way, and no lock is needed. The thread is started with the first
//! handshake. If it cannot be, the event loop takes the steps itself.

use super::session::{Bench, Session, Socket};
use crate::daemon::sources::Slot;
use crate::daemon::thread_results::send_result;
use hither_net::clock;
use hither_secure::{Anchor, Error, Event, Received, Shared};
use mio::Waker;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SendError, Sender};
use std::thread;

/// One step of a handshake.
#[derive(Debug)]
pub(super) enum Step {
    /// Begins a session on a connected socket, and sends its first octets.
    Begin { socket: Socket, shared: Shared, peer: SocketAddr },
    /// Processes what the socket has received, and sends what follows from it.
    Receive(Session),
}

/// A session after a step.
#[derive(Debug)]
pub(super) struct Taken {
    pub session: Session,
    pub received: io::Result<Received>,
    pub sent: io::Result<()>,
    /// What has happened, up to the end of the handshake or of the session. The session has the rest.
    pub events: Vec<Event>,
}

/// The result of a step, and the connection that it is for.
#[derive(Debug)]
pub(super) struct Done {
    pub slot: Slot,
    /// The error is that of a session that cannot begin.
    pub taken: Result<Box<Taken>, Error>,
}

#[derive(Debug)]
struct Job {
    slot: Slot,
    step: Step,
}

/// The event loop's side of the thread.
#[derive(Debug)]
pub(super) struct HandshakeThread {
    waker: Arc<Waker>,
    /// The way to the thread; `None` until the first step.
    jobs: Option<Sender<Job>>,
    done: (Sender<Done>, Receiver<Done>),
    /// For steps that the event loop takes itself.
    bench: Bench,
}

impl HandshakeThread {
    /// The thread wakes the event loop by `waker`.
    pub fn new(waker: Arc<Waker>, anchor: Anchor) -> HandshakeThread {
        HandshakeThread { waker, jobs: None, done: mpsc::channel(), bench: Bench::new(anchor) }
    }

    /// Has the thread take a step; [`HandshakeThread::next_done`] returns its result later. The result is
    /// returned at once if there is no thread.
    pub fn take(&mut self, slot: Slot, step: Step) -> Option<Done> {
        let job = Job { slot, step };
        let job = match self.jobs.take().or_else(|| self.start()) {
            Some(jobs) => match jobs.send(job) {
                Ok(()) => {
                    self.jobs = Some(jobs);
                    return None;
                }
                Err(SendError(job)) => job,
            },
            None => job,
        };
        Some(job.run(&mut self.bench))
    }

    /// Starts the thread. It ends when the event loop drops its side.
    fn start(&self) -> Option<Sender<Job>> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let (done, waker, mut bench) =
            (self.done.0.clone(), Arc::clone(&self.waker), Bench::new(self.bench.anchor));
        let work = move || {
            for job in jobs {
                send_result(&done, &waker, job.run(&mut bench));
                // On a busy processor the event loop runs next, not after more steps.
                thread::yield_now();
            }
        };
        match thread::Builder::new().name("handshakes".to_owned()).spawn(work) {
            Ok(_) => Some(sender),
            Err(error) => {
                log::debug!("no thread for handshakes: {error}; the event loop takes their steps");
                None
            }
        }
    }

    /// Leaves a thread that takes no more steps.
    #[cfg(test)]
    pub fn end_thread(&mut self) {
        self.jobs = Some(mpsc::channel().0);
    }

    /// The next result of the thread.
    pub fn next_done(&mut self) -> Option<Done> {
        self.done.1.try_recv().ok()
    }
}

impl Job {
    fn run(self, bench: &mut Bench) -> Done {
        bench.now = clock::now();
        Done { slot: self.slot, taken: self.step.run(bench).map(Box::new) }
    }
}

impl Step {
    fn run(self, bench: &mut Bench) -> Result<Taken, Error> {
        let (mut session, received) = match self {
            Self::Begin { socket, shared, peer } => {
                (Session::begin(socket, &shared, peer, bench)?, Ok(Received::All))
            }
            Self::Receive(mut session) => {
                let received = session.receive(bench);
                (session, received)
            }
        };
        let mut events = Vec::new();
        while let Some(event) = session.poll_event() {
            let is_over = matches!(event, Event::Ready(_) | Event::Closed(_));
            events.push(event);
            if is_over {
                break;
            }
        }
        let sent = session.transmit(bench);
        Ok(Taken { session, received, sent, events })
    }
}
