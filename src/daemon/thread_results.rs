//! Results that other threads send to the event loop, and the wake-ups of threads that wait for events.

use mio::Waker;
use std::sync::mpsc::Sender;

/// Sends the result of a thread to the event loop, and wakes it. If the loop has ended, the result is
/// dropped.
pub(crate) fn send_result<T>(sender: &Sender<T>, event_loop: &Waker, result: T) {
    if sender.send(result).is_ok() {
        wake(event_loop);
    }
}

/// Wakes a thread that waits for events. A failure is logged: the thread continues at its next event.
pub(crate) fn wake(thread: &Waker) {
    if let Err(error) = thread.wake() {
        log::error!("cannot wake a thread: {error}; it continues at its next event");
    }
}
