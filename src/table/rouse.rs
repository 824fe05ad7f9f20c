//! Waking who waits for a change, in a thread of its own: however many they are, the writer waits for none of it.
//!
//! The writer leaves a note, and wakes the thread where that is asleep: one cheap system call at most. The thread wakes everybody at once,
//! then rests, so that sleepers who come back at once are woken some [`REST`]s later, and no more often than they can be. While nothing is
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

/// Between two times that everybody is woken: at most 50 a second.
const REST: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_millis(200);
/// Sleepers that are woken by one system call, and the pause after it, in which they and others run.
const PORTION: usize = 64;
const PAUSE: Duration = Duration::from_micros(500);
/// Sleepers that are woken one time at most; the others the next time.
const MOST: usize = 1 << 16;

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
            move || serve(&memory, &notes)
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

fn serve(memory: &Memory, notes: &Notes) {
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
        let all = wake_all(memory);
        if over {
            return;
        }
        if !all {
            notes.changed.store(true, Ordering::Release);
        }
        // Many sleepers cost the processors more than they cost this thread.
        rested = Instant::now() + (3 * began.elapsed()).clamp(REST, REST_MAX);
    }
}

/// `false`: there were more than are woken one time.
fn wake_all(memory: &Memory) -> bool {
    let words = memory.words();
    let (Some(word), Some(aside)) = (words.get(head::CHANGES), words.get(head::WAKING)) else { return true };
    if !futex::move_all(word, aside) {
        // Only where a filter knows no such call.
        futex::wake(word);
        return true;
    }
    for _ in 0..MOST / PORTION {
        if futex::wake_some(aside, PORTION) < PORTION {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}
