//! Waking who waits for a change, in a thread of its own: however many they are, the writer waits for none of it.
//!
//! The writer leaves a note, and wakes the thread where that is asleep: one cheap system call at most. The thread wakes everybody at once,
//! then rests, so that sleepers who come back at once are woken some rests later, and no more often than they can be. While nothing is
//! published it sleeps without a timer.
//!
//! Everybody is first moved to another futex of the table, where nobody new comes, and woken there in small portions: so each is woken
//! once, and neither the kernel nor the processors are held up by all of them. Any process that may read the table may also wake, move
//! or be a sleeper, by the kernel's rules: who waits must bound its waits, and look.

use crate::futex;
use crate::layout::head;
use crate::memory::Memory;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How many are woken, and how often.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Between two times that everybody is woken, at least and at most.
    rest: (Duration, Duration),
    /// Sleepers that are woken by one system call.
    portion: usize,
    /// After it, for them and others to run.
    pause: Duration,
    /// Portions that are woken one time at most; the others the next time.
    portions: usize,
}

/// At most 50 times a second.
const USUAL: Pace = Pace {
    rest: (Duration::from_millis(20), Duration::from_millis(200)),
    portion: 64,
    pause: Duration::from_micros(500),
    portions: 1024,
};

/// Wakes sleepers when it is told to, until it is dropped: then once more.
#[derive(Debug)]
pub(crate) struct Rouse {
    notes: Arc<Notes>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Notes {
    /// Something has changed.
    changed: AtomicBool,
    /// Nothing will any more.
    over: AtomicBool,
}

impl Rouse {
    /// `None`: no thread can be had; then the writer has to wake them itself.
    pub fn start(memory: Arc<Memory>) -> Option<Rouse> {
        let notes = Arc::new(Notes::default());
        let work = {
            let notes = Arc::clone(&notes);
            move || serve(&memory, &notes, &USUAL)
        };
        let thread =
            std::thread::Builder::new().name("rouse".to_owned()).stack_size(64 * 1024).spawn(work).ok()?;
        Some(Rouse { notes, thread: thread.thread().clone() })
    }

    /// Something has changed. Waits for nobody.
    pub fn note(&self) {
        // Where the note has not been read yet, so has this one.
        if !self.notes.changed.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

impl Drop for Rouse {
    /// Sleepers are woken once more, and nobody waits for that.
    fn drop(&mut self) {
        self.notes.over.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

fn serve(memory: &Memory, notes: &Notes, pace: &Pace) {
    let mut rested = Instant::now();
    loop {
        let over = notes.over.load(Ordering::Acquire);
        if !over && !notes.changed.load(Ordering::Acquire) {
            std::thread::park();
            continue;
        }
        // What is noted meanwhile is part of this.
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
        // Many sleepers cost the processors more than they cost this thread.
        rested = Instant::now() + (3 * began.elapsed()).clamp(pace.rest.0, pace.rest.1);
    }
}

/// `false`: there were more than are woken one time.
fn wake_all(memory: &Memory, pace: &Pace) -> bool {
    let words = memory.words();
    let (Some(word), Some(aside)) = (words.get(head::CHANGES), words.get(head::WAKING)) else { return true };
    if !futex::move_all(word, aside) {
        // Only where a filter knows no such call.
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
    /// Longer than any test: who is to be woken after it is not woken.
    const NEVER: Duration = Duration::from_secs(3600);

    /// Sleepers that wait again whenever they are woken, and count that.
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
                    sender.send(nix::unistd::gettid().as_raw()).expect("somebody listens");
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

        /// How often one of them was woken so far, once so many have been and all sleep again.
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
            assert!(Instant::now() < end, "it never comes to that");
            std::thread::yield_now();
        }
    }

    fn is_in(thread: libc::pid_t, call: libc::c_long) -> bool {
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        text.split_whitespace().next().and_then(|number| number.parse().ok()) == Some(call)
    }

    #[test]
    fn more_than_are_woken_one_time_are_woken_the_next_time() {
        let sleepers = Sleepers::start(5);
        let pace = Pace { portion: 1, pause: Duration::ZERO, portions: 2, ..USUAL };
        // Who was woken waits again, behind who was not.
        for so_far in [2, 4, 6] {
            assert!(!wake_all(&sleepers.memory, &pace));
            assert_eq!(sleepers.woken(so_far), so_far);
        }
        assert!(wake_all(&sleepers.memory, &Pace { portions: 6, ..pace }));
        assert_eq!(sleepers.woken(11), 11);
    }

    #[test]
    fn sleepers_are_woken_at_once_and_then_not_before_the_rest_is_over() {
        let sleepers = Sleepers::start(20);
        let (memory, notes) = (Arc::clone(&sleepers.memory), Arc::new(Notes::default()));
        let (sender, id) = std::sync::mpsc::channel();
        let work = {
            let notes = Arc::clone(&notes);
            move || {
                sender.send(nix::unistd::gettid().as_raw()).expect("somebody listens");
                serve(&memory, &notes, &Pace { rest: (NEVER, NEVER), ..USUAL });
            }
        };
        let rouse = Rouse { notes, thread: std::thread::spawn(work).thread().clone() };
        let thread = id.recv().expect("it runs");
        rouse.note();
        assert_eq!(sleepers.woken(20), 20);
        (0..2000).for_each(|_| rouse.note());
        wait_until(|| is_in(thread, libc::SYS_clock_nanosleep));
        assert_eq!(sleepers.woken(20), 20);
    }
}
