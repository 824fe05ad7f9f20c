//! The sign of life in the table's header: a robust futex, which the kernel marks when the thread
//! that holds it dies for any reason (set_robust_list(2)).
//!
//! That thread does nothing else. While it sleeps its list of robust futexes is this file's instead
//! of the C library's.
#![allow(unsafe_code)]

use crate::layout::head;
use crate::memory::Memory;
use crate::seqlock::set;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// `struct robust_list_head` of the kernel, followed by the only node of the list.
#[repr(C)]
struct List {
    next: *const List,
    futex_offset: libc::c_long,
    pending: *const List,
    /// The node: it points back to the head.
    node: *const List,
}

/// The size of the head, without the node, as the kernel expects it: three words.
const LIST_LEN: usize = 3 * size_of::<*const List>();

/// Shows readers that this process is alive, until it is dropped.
#[derive(Debug)]
pub struct Alive {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Alive {
    /// Starts the thread. `None` if that is impossible; then readers see no sign of life.
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
    // - `list` belongs to this function and does not move until the C library's list is installed
    //   again below; no other code uses it;
    // - the kernel reads it when the thread is killed: from head to node to head. It finds the
    //   futex `futex_offset` from the node: the lower half of a word of `memory`, which is mapped
    //   as long as this function runs;
    // - this thread uses no robust mutex meanwhile.
    let set_list = |list: *const List| unsafe { libc::syscall(libc::SYS_set_robust_list, list, LIST_LEN) };
    let (mut before, mut len) = (std::ptr::null::<List>(), 0_usize);
    // SAFETY: two places for the result; 0 stands for the calling thread.
    let known = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut before, &raw mut len) } == 0;
    if !known {
        return;
    }
    // SAFETY: `at` points to `list`; gettid has no preconditions.
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
    // Ends when the sender is dropped.
    if shown.send(()).is_ok() {
        let _ = stopped.recv();
    }
    set(word, 0);
    // When the thread ends the kernel reads its list, and `list` is gone by then.
    set_list(before);
}
