//! The index: chains of nodes that one thread links and unlinks while others walk them.
//!
//! Only one thread changes the index: there is one [`IndexWriter`], and changes take it `&mut`. An
//! unlinked node is freed when no thread can be on it any more (crossbeam-epoch). Nodes do not
//! change, except for their links, which only the writer stores, and their marks.
#![allow(unsafe_code)]

use crate::{Number, Stored};
use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An entry: an answer, and the link to the next one of its chain.
#[derive(Debug)]
pub(crate) struct Node {
    pub hash: u32,
    /// The number, by which the entry differs from earlier and later answers to the same question, and
    /// the flags `DO`, `CD` and `USED`.
    mark: AtomicU32,
    pub stored: Arc<Stored>,
    next: Atomic<Node>,
}

/// Flag: the entry was read since eviction last checked it.
const USED: u32 = 1;
/// Flag: the DO bit of the question.
const DO: u32 = 2;
/// Flag: the CD bit of the question.
const CD: u32 = 4;
/// How many bits of a mark are flags. They are below the number.
pub(crate) const FLAG_BITS: u32 = 3;

/// Octets that a node and an answer take beside the answer's message.
pub(crate) const OVERHEAD: usize =
    allocated(size_of::<Node>()) + allocated(size_of::<[usize; 2]>() + size_of::<Stored>());

/// How many octets glibc's malloc takes for an allocation: one word of its own, and a multiple of two words.
pub(crate) const fn allocated(octets: usize) -> usize {
    (octets + size_of::<usize>()).next_multiple_of(2 * size_of::<usize>())
}

const _: () = assert!(OVERHEAD == 32 + 64, "one octet more would cost sixteen");

impl Node {
    /// Numbers count modulo 2^29. Of two nodes with the same hash and number the wrong one could be
    /// evicted; that is too improbable to matter.
    pub fn new(
        hash: u32,
        dnssec_ok: bool,
        checking_disabled: bool,
        number: u32,
        stored: Arc<Stored>,
    ) -> Node {
        let dnssec = if dnssec_ok { DO } else { 0 } | if checking_disabled { CD } else { 0 };
        let mark = number << FLAG_BITS | dnssec;
        Node { hash, mark: AtomicU32::new(mark), stored, next: Atomic::null() }
    }

    /// DO and CD of the question.
    pub fn dnssec(&self) -> (bool, bool) {
        let mark = self.mark.load(Ordering::Relaxed);
        (mark & DO != 0, mark & CD != 0)
    }

    pub fn number(&self) -> Number {
        Number(self.mark.load(Ordering::Relaxed) >> FLAG_BITS)
    }

    pub fn is_number(&self, number: u32) -> bool {
        (self.mark.load(Ordering::Relaxed) ^ number << FLAG_BITS) >> FLAG_BITS == 0
    }

    /// Sets the flag `USED`.
    pub fn note_use(&self) {
        if self.mark.load(Ordering::Relaxed) & USED == 0 {
            self.mark.fetch_or(USED, Ordering::Relaxed);
        }
    }

    /// Clears the flag `USED`, and returns whether it was set.
    pub fn take_use(&self) -> bool {
        self.mark.fetch_and(!USED, Ordering::Relaxed) & USED != 0
    }
}

#[derive(Debug)]
struct Buckets(Box<[Atomic<Node>]>);

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY:
        // - unshared: buckets are dropped by the index when it is dropped, or by the epoch when no
        //   thread reads them any more, so no other thread has their nodes;
        // - once: a node is in one chain of one set of buckets.
        unsafe {
            let guard = epoch::unprotected();
            for bucket in &self.0 {
                let mut node = bucket.load(Ordering::Relaxed, guard);
                while !node.is_null() {
                    let owned = node.into_owned();
                    node = owned.next.load(Ordering::Relaxed, guard);
                }
            }
        }
    }
}

/// The index, for readers.
#[derive(Debug)]
pub(crate) struct Index(Atomic<Buckets>);

fn buckets(count: usize) -> Buckets {
    Buckets((0..count.next_power_of_two()).map(|_| Atomic::null()).collect())
}

impl Buckets {
    fn chain(&self, hash: u32) -> &Atomic<Node> {
        &self.0[hash as usize & (self.0.len() - 1)]
    }

    /// Links a node before all others of its chain.
    fn link(&self, node: Node, guard: &Guard) {
        let chain = self.chain(node.hash);
        node.next.store(chain.load(Ordering::Relaxed, guard), Ordering::Relaxed);
        chain.store(Owned::new(node), Ordering::Release);
    }
}

impl Index {
    fn buckets<'g>(&self, guard: &'g Guard) -> &'g Buckets {
        // SAFETY:
        // - never null: `IndexWriter` stores buckets, and only exchanges them for others;
        // - alive: they are freed when all guards that could have seen them are gone, or with the index.
        unsafe { self.0.load(Ordering::Acquire, guard).deref() }
    }

    /// The first node of the hash's chain for which `fits` holds.
    #[inline]
    pub fn find<'g>(&self, hash: u32, guard: &'g Guard, fits: impl Fn(&Node) -> bool) -> Option<&'g Node> {
        let mut link = self.buckets(guard).chain(hash);
        loop {
            let node = follow(link, guard)?;
            if node.hash == hash && fits(node) {
                return Some(node);
            }
            link = &node.next;
        }
    }

    /// The number of chains.
    pub fn len(&self) -> usize {
        self.buckets(&epoch::pin()).0.len()
    }

    /// Calls `visit` with every node of `chains` chains from chain `at` on.
    pub fn each(&self, at: usize, chains: usize, mut visit: impl FnMut(&Node)) {
        let guard = &epoch::pin();
        for bucket in self.buckets(guard).0.iter().skip(at).take(chains) {
            let mut link = bucket;
            while let Some(node) = follow(link, guard) {
                visit(node);
                link = &node.next;
            }
        }
    }
}

fn follow<'g>(link: &Atomic<Node>, guard: &'g Guard) -> Option<&'g Node> {
    // SAFETY:
    // - alive: a node that a link leads to under a guard is freed only after that guard is gone;
    // - initialised: the node was complete before the link to it was stored with `Release`.
    unsafe { link.load(Ordering::Acquire, guard).as_ref() }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: `self` is borrowed mutably, so no other thread has the index or its buckets.
        unsafe {
            let all = self.0.load(Ordering::Relaxed, epoch::unprotected());
            if !all.is_null() {
                drop(all.into_owned());
            }
        }
    }
}

/// The right to change an index, of which there is one.
#[derive(Debug)]
pub(crate) struct IndexWriter(Arc<Index>);

impl IndexWriter {
    pub fn new(count: usize) -> IndexWriter {
        IndexWriter(Arc::new(Index(Atomic::new(buckets(count)))))
    }

    /// The index for readers.
    pub fn index(&self) -> &Arc<Index> {
        &self.0
    }

    pub fn insert(&mut self, node: Node) {
        let guard = &epoch::pin();
        self.0.buckets(guard).link(node, guard);
    }

    /// Unlinks the nodes of the hash's chain for which `fits` holds, and calls `removed` with each.
    pub fn remove(&mut self, hash: u32, fits: impl Fn(&Node) -> bool, mut removed: impl FnMut(&Node)) {
        let guard = &epoch::pin();
        let mut link = self.0.buckets(guard).chain(hash);
        while let Some(node) = follow(link, guard) {
            if node.hash != hash || !fits(node) {
                link = &node.next;
                continue;
            }
            removed(node);
            let at = link.load(Ordering::Relaxed, guard);
            link.store(node.next.load(Ordering::Relaxed, guard), Ordering::Release);
            // SAFETY:
            // - unreachable: no link leads to the node any more; a thread that is on it still finds the
            //   next one, since its own link stays;
            // - once: only this writer unlinks.
            unsafe { guard.defer_destroy(at) };
        }
    }

    /// Moves all entries into `count` buckets, rounded up to a power of two.
    pub fn rebuild(&mut self, count: usize) {
        let guard = &epoch::pin();
        let fresh = buckets(count);
        self.0.each(0, usize::MAX, |node| {
            let mark = AtomicU32::new(node.mark.load(Ordering::Relaxed));
            let stored = Arc::clone(&node.stored);
            fresh.link(Node { hash: node.hash, mark, stored, next: Atomic::null() }, guard);
        });
        let old = self.0.0.swap(Owned::new(fresh), Ordering::AcqRel, guard);
        // SAFETY: the index leads to the new buckets, and the swap gives the old ones to this call only.
        unsafe { guard.defer_destroy(old) };
    }
}
