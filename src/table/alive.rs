//! The sign of life in the table's header: a robust futex, which the kernel marks when the thread that holds it dies, however it does.
//!
//! The thread does nothing else: its list of robust futexes is ours, not that of its C library, and it sleeps until it is told to end.
#![allow(unsafe_code)]

use crate::layout::head;
use crate::memory::Memory;
use crate::seqlock::set;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// `struct robust_list_head` of the kernel, with one entry that is a list node of its own.
#[repr(C)]
struct List {
    next: *const List,
    futex_offset: libc::c_long,
    pending: *const List,
    /// The one node: it leads back to the head.
    node: *const List,
}

/// What the kernel expects of a list's head: three words.
const LIST_LEN: usize = 3 * size_of::<*const List>();

/// Shows that this process lives, until it is dropped.
#[derive(Debug)]
pub struct Alive {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alive {
    /// `None`: no thread could be had; readers then cannot tell, and do without.
    pub(crate) fn show(memory: Arc<Memory>) -> Option<Alive> {
        let ((stop, stopped), (shown, seen)) = (channel(), channel());
        let hold = move || hold(&memory, &shown, &stopped);
        let thread = std::thread::Builder::new().name("alive".to_owned()).stack_size(64 * 1024).spawn(hold);
        let alive = Alive { stop: Some(stop), thread: Some(thread.ok()?) };
        seen.recv().ok()?;
        Some(alive)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn hold(memory: &Memory, shown: &Sender<()>, stopped: &Receiver<()>) {
    let Some(word) = memory.words().get(head::ALIVE) else { return };
    let mut list =
        List { next: std::ptr::null(), futex_offset: 0, pending: std::ptr::null(), node: std::ptr::null() };
    let at = &raw mut list;
    // SAFETY:
    // - `list` is this function's own and stays where it is until the C library's list, which is only put aside, is back in its place
    //   below; nobody else touches it;
    // - the kernel reads it when the thread is killed: head to node to head, and finds the futex `futex_offset` from the node, which is
    //   the lower half of a live word of `memory`, mapped as long as this function runs and, when the process is killed, to its end;
    // - this thread uses no robust mutex meanwhile.
    let set_list = |list: *const List| unsafe { libc::syscall(libc::SYS_set_robust_list, list, LIST_LEN) };
    let (mut before, mut len) = (std::ptr::null::<List>(), 0_usize);
    // SAFETY: two places for the result; 0 is the calling thread.
    let known = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut before, &raw mut len) } == 0;
    if !known {
        return;
    }
    // SAFETY: `at` leads to `list`; gettid has no preconditions.
    let me = unsafe {
        let node = &raw const (*at).node;
        (*at).next = node.cast();
        (*at).node = at;
        (*at).futex_offset = word.as_ptr() as libc::c_long - node as libc::c_long;
        libc::syscall(libc::SYS_gettid)
    };
    if set_list(at) != 0 {
        return;
    }
    set(word, u64::from(me as u32));
    // Until we are told, or nobody is left who could tell.
    if shown.send(()).is_ok() {
        let _ = stopped.recv();
    }
    set(word, 0);
    // Otherwise the kernel would look at our list when the thread ends, and it is gone by then.
    set_list(before);
}
