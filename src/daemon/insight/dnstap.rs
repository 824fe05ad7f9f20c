//! Messages of clients and upstreams for a dnstap collector (`log.dnstap`).
//!
//! A thread of its own writes them. A collector that is away, slow or hangs delays nothing but this
//! thread: frames that find no slot in its queue are dropped and counted, and so are those of the time
//! without a connection.

mod messages;
mod stream;

use crate::daemon::clients::tap::{Frame, FrameSender};
use crate::logging::Event;
use hither_net::clock;
use hither_table::Monotonic;
use messages::Encoder;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use stream::FrameStream;

/// How often the queue is looked at: while frames come, and after there were none. They wake nobody,
/// since a hit must make no system call.
const POLL_MIN: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(100);
/// The pauses between two tries to connect.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How long the end of the thread is waited for when the daemon stops.
const END_WITHIN: Duration = Duration::from_millis(400);

/// The thread that writes to a collector.
#[derive(Debug)]
pub(super) struct Dnstap {
    path: PathBuf,
    frames: FrameSender,
    stop: Arc<AtomicBool>,
    /// Is disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Dnstap {
    /// Starts the thread. Frames that are lost are counted in `dropped`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(path: &Path, dropped: &Arc<AtomicU64>) -> io::Result<Dnstap> {
        let (frames, receiver) = FrameSender::new(Arc::clone(dropped));
        let (ending, ended) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            path: path.to_owned(),
            frames: receiver,
            stop: Arc::clone(&stop),
            dropped: Arc::clone(dropped),
            encoder: Encoder::new(),
            retry: None,
            is_lost: false,
        };
        std::thread::Builder::new().name("dnstap".to_owned()).spawn(move || writer.run(&ending))?;
        Ok(Dnstap { path: path.to_owned(), frames, stop, ended })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn frames(&self) -> &FrameSender {
        &self.frames
    }

    /// Has the thread write what it has, and waits for its end for a moment.
    pub fn end(self) {
        self.stop.store(true, Ordering::Release);
        // The result does not matter: the thread has ended, or it is left alone.
        let _ = self.ended.recv_timeout(END_WITHIN);
    }
}

impl Drop for Dnstap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

struct Writer {
    path: PathBuf,
    frames: Receiver<Frame>,
    stop: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    encoder: Encoder,
    /// The time of the next try to connect, and the pause before the one after it.
    retry: Option<(Monotonic, Duration)>,
    /// Whether the loss of the collector is logged.
    is_lost: bool,
}

impl Writer {
    fn run(mut self, _ending: &Sender<()>) {
        let (mut stream, mut pause) = (None, POLL_MIN);
        loop {
            if stream.is_none() && !self.stop.load(Ordering::Acquire) && self.may_try() {
                stream = self.connect();
            }
            let stops = self.stop.load(Ordering::Acquire);
            let count = self.pass_on(&mut stream);
            if stops {
                if let Some(Err(error)) = stream.map(FrameStream::finish) {
                    log::debug!("the dnstap collector has not confirmed the end: {error}");
                }
                return;
            }
            pause = if count > 0 { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
            std::thread::sleep(pause);
        }
    }

    fn may_try(&self) -> bool {
        self.retry.is_none_or(|(at, _)| clock::now() >= at)
    }

    fn connect(&mut self) -> Option<FrameStream> {
        match FrameStream::connect(&self.path, &self.stop) {
            Ok(stream) => {
                log::info!(
                    event = Event::DnstapConnected, path:% = self.path.display();
                    "the dnstap collector at {} takes messages", self.path.display()
                );
                self.is_lost = false;
                Some(stream)
            }
            Err(error) => {
                self.note_loss(&error);
                None
            }
        }
    }

    /// Logs once that there is no collector, and sets the time of the next try.
    fn note_loss(&mut self, error: &io::Error) {
        // Nobody wants to know of a collector that is no longer configured.
        if self.stop.load(Ordering::Acquire) {
            return;
        }
        let pause = self.retry.map_or(RETRY_MIN, |(_, pause)| pause);
        self.retry = Some((clock::now().plus(pause), (pause * 2).min(RETRY_MAX)));
        if !std::mem::replace(&mut self.is_lost, true) {
            log::warn!(
                event = Event::DnstapLost, path:% = self.path.display(), reason:% = error;
                "the dnstap collector at {} takes no messages: {error}; they are dropped until it does",
                self.path.display()
            );
        }
    }

    /// Writes the frames that have come, and returns how many.
    fn pass_on(&mut self, stream: &mut Option<FrameStream>) -> u64 {
        let (offset, mut count) = (wall_offset(), 0);
        while let Ok(frame) = self.frames.try_recv() {
            count += 1;
            self.write(stream, &frame, offset);
        }
        let lost = stream.as_mut().and_then(|stream| match stream.flush() {
            Ok(()) if stream.is_closed() => Some(io::ErrorKind::ConnectionReset.into()),
            Ok(()) => None,
            Err(error) => Some(error),
        });
        match lost {
            Some(error) => {
                *stream = None;
                self.note_loss(&error);
            }
            // A collector that goes right after each handshake is tried ever more seldom.
            None if stream.is_some() && count > 0 => self.retry = None,
            None => {}
        }
        count
    }

    fn write(&mut self, stream: &mut Option<FrameStream>, frame: &Frame, offset: Duration) {
        let Some(open) = stream else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let messages = self.encoder.encode(frame, |at| Duration::from_nanos(at.0) + offset);
        if let Err(error) = messages.iter().try_for_each(|message| open.write(message)) {
            *stream = None;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.note_loss(&error);
        }
    }
}

/// The wall clock minus the daemon's clock.
fn wall_offset() -> Duration {
    Duration::from_millis(clock::wall_ms()).saturating_sub(Duration::from_nanos(clock::now().0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
    };
    use std::os::fd::{AsRawFd as _, OwnedFd};

    /// A collector that accepts no connection, with as many waiting as fit.
    fn full(path: &Path) -> Vec<OwnedFd> {
        let address = UnixAddr::new(path).expect("a short path");
        let open = || {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket")
        };
        let mut sockets = vec![open()];
        bind(sockets[0].as_raw_fd(), &address).expect("bound");
        listen(&sockets[0], Backlog::new(0).expect("valid")).expect("it listens");
        loop {
            let next = open();
            let connected = connect(next.as_raw_fd(), &address);
            sockets.push(next);
            if connected.is_err() {
                return sockets;
            }
        }
    }

    #[test]
    fn a_collector_that_accepts_no_connection_holds_no_thread() {
        let path = std::env::temp_dir().join(format!("hither-full-{}", std::process::id()));
        let _sockets = full(&path);
        let met = FrameStream::connect(&path, &AtomicBool::new(false)).map(drop);
        assert_eq!(met.expect_err("no connection").kind(), io::ErrorKind::WouldBlock);
        let dnstap = Dnstap::start(&path, &Arc::default()).expect("a thread");
        // It tries to connect meanwhile.
        let within = dnstap.ended.recv_timeout(Duration::from_millis(300));
        assert_eq!(within, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it runs until it is stopped");
        dnstap.stop.store(true, Ordering::Release);
        let within = dnstap.ended.recv_timeout(Duration::from_secs(10));
        assert_eq!(within, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it has ended");
        std::fs::remove_file(&path).expect("removable");
    }
}
