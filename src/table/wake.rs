//! Wakes the readers that wait for a change, in a thread of its own: the writer is not delayed,
//! however many readers wait.
//!
//! The writer sets a flag and unparks the thread: at most one cheap system call. The thread wakes
//! all waiters and then pauses, so that readers that wait again immediately are woken at most 50
//! times a second. While nothing is published it sleeps without a timer.
//!
//! Waiters are first moved to a second futex of the table, on which no reader begins to wait, and
//! are woken there in small portions. So each is woken once, and neither the kernel nor the
//! processors are busy with all of them at the same time. The kernel allows any process that may
//! read the table to wait, wake and move waiters, so a reader must bound its waits and look at the
//! table itself.

use crate::futex;
use crate::layout::head;
use crate::memory::Memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The number of waiters that are woken at a time, and the pauses.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The least and the longest pause after all waiters were woken.
    rest: (Duration, Duration),
    /// Waiters that one system call wakes.
    portion: usize,
    /// The pause after each such call, in which other threads can run.
    pause: Duration,
    /// Portions that are woken at a time; the rest is woken the next time.
    portions: usize,
}

/// The pace in use: at most 50 times a second.
const USUAL: Pace = Pace {
    rest: (Duration::from_millis(20), Duration::from_millis(200)),
    portion: 64,
    pause: Duration::from_micros(500),
    portions: 1024,
};

/// Wakes waiters when a change is noted; the last time when it is dropped.
#[derive(Debug)]
pub(crate) struct Waker {
    notes: Arc<Notes>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Notes {
    /// Whether there was a change since waiters were last woken.
    changed: AtomicBool,
    /// Whether there will be no more changes.
    over: AtomicBool,
}

impl Waker {
    /// Starts the thread; `None` if that is impossible. Then the writer has to wake waiters itself.
    pub fn start(memory: Arc<Memory>) -> Option<Waker> {
        let notes = Arc::new(Notes::default());
        let work = {
            let notes = Arc::clone(&notes);
            move || run(&memory, &notes, &USUAL)
        };
        let thread =
            std::thread::Builder::new().name("wake".to_owned()).stack_size(64 * 1024).spawn(work).ok()?;
        Some(Waker { notes, thread: thread.thread().clone() })
    }

    /// Notes a change. Never blocks.
    pub fn note(&self) {
        // If the flag was set the thread has not read it yet, and need not be unparked.
        if !self.notes.changed.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

impl Drop for Waker {
    /// Makes the thread wake waiters once more, without waiting for it.
    fn drop(&mut self) {
        self.notes.over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn run(memory: &Memory, notes: &Notes, pace: &Pace) {
    let mut rested = Instant::now();
    loop {
        let over = notes.over.load(Ordering::Acquire);
        if !over && !notes.changed.load(Ordering::Acquire) {
            std::thread::park();
            continue;
        }
        // Changes that are noted during the pause are part of this time.
        std::thread::sleep(if over {
            Duration::ZERO
        } else {
            rested.saturating_duration_since(Instant::now())
        });
        notes.changed.swap(false, Ordering::Acquire);
        let began = Instant::now();
        let all = wake_all(memory, pace);
        if over {
            return;
        }
        if !all {
            notes.changed.store(true, Ordering::Release);
        }
        // Waking many waiters takes the processors longer than it takes this thread.
        rested = Instant::now() + (3 * began.elapsed()).clamp(pace.rest.0, pace.rest.1);
    }
}

/// Wakes all waiters, as far as the pace allows; `false` if there are more.
fn wake_all(memory: &Memory, pace: &Pace) -> bool {
    let words = memory.words();
    let (Some(word), Some(aside)) = (words.get(head::CHANGES), words.get(head::WAKING)) else { return true };
    if !futex::move_all(word, aside) {
        // A system call filter may not allow FUTEX_REQUEUE.
        futex::wake(word);
        return true;
    }
    for _ in 0..pace.portions {
        if futex::wake_some(aside, pace.portion) < pace.portion {
            return true;
        }
        std::thread::sleep(pace.pause);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seqlock::peek;
    use std::sync::atomic::AtomicUsize;

    const PATIENCE: Duration = Duration::from_secs(30);
    /// Longer than any test.
    const NEVER: Duration = Duration::from_secs(3600);

    /// Threads that wait again whenever they are woken, and count how often they are.
    struct Sleepers {
        memory: Arc<Memory>,
        woken: Arc<AtomicUsize>,
        threads: Vec<libc::pid_t>,
    }

    impl Sleepers {
        fn start(count: usize) -> Sleepers {
            let memory = Arc::new(Memory::heap(crate::layout::HEADER));
            let woken = Arc::new(AtomicUsize::new(0));
            let (sender, ids) = std::sync::mpsc::channel();
            for _ in 0..count {
                let (memory, woken, sender) = (Arc::clone(&memory), Arc::clone(&woken), sender.clone());
                std::thread::spawn(move || {
                    sender.send(nix::unistd::gettid().as_raw()).expect("the receiver exists");
                    let word = &memory.words()[head::CHANGES];
                    loop {
                        futex::wait(word, peek(word) as u32, NEVER);
                        woken.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let sleepers = Sleepers { memory, woken, threads: ids.iter().take(count).collect() };
            sleepers.wait_until_asleep();
            sleepers
        }

        /// How often threads were woken so far. Waits until that is at least `expected` and all
        /// sleep again.
        fn woken(&self, expected: usize) -> usize {
            wait_until(|| self.woken.load(Ordering::SeqCst) >= expected);
            self.wait_until_asleep();
            self.woken.load(Ordering::SeqCst)
        }

        fn wait_until_asleep(&self) {
            wait_until(|| self.threads.iter().all(|thread| is_in(*thread, libc::SYS_futex)));
        }
    }

    fn wait_until(done: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < end, "it does not happen in time");
            std::thread::yield_now();
        }
    }

    fn is_in(thread: libc::pid_t, call: libc::c_long) -> bool {
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        text.split_whitespace().next().and_then(|number| number.parse().ok()) == Some(call)
    }

    #[test]
    fn waiters_beyond_those_woken_at_a_time_are_woken_the_next_time() {
        let sleepers = Sleepers::start(5);
        let pace = Pace { portion: 1, pause: Duration::ZERO, portions: 2, ..USUAL };
        // A thread that was woken waits again, behind those that were not.
        for so_far in [2, 4, 6] {
            assert!(!wake_all(&sleepers.memory, &pace));
            assert_eq!(sleepers.woken(so_far), so_far);
        }
        assert!(wake_all(&sleepers.memory, &Pace { portions: 6, ..pace }));
        assert_eq!(sleepers.woken(11), 11);
    }

    #[test]
    fn waiters_are_woken_at_once_and_then_not_before_the_pause_ends() {
        let sleepers = Sleepers::start(20);
        let (memory, notes) = (Arc::clone(&sleepers.memory), Arc::new(Notes::default()));
        let (sender, id) = std::sync::mpsc::channel();
        let work = {
            let notes = Arc::clone(&notes);
            move || {
                sender.send(nix::unistd::gettid().as_raw()).expect("the receiver exists");
                run(&memory, &notes, &Pace { rest: (NEVER, NEVER), ..USUAL });
            }
        };
        let wake = Waker { notes, thread: std::thread::spawn(work).thread().clone() };
        let thread = id.recv().expect("it runs");
        wake.note();
        assert_eq!(sleepers.woken(20), 20);
        (0..2000).for_each(|_| wake.note());
        wait_until(|| is_in(thread, libc::SYS_clock_nanosleep));
        assert_eq!(sleepers.woken(20), 20);
    }
}
