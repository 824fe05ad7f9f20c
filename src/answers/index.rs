//! The index: chains of nodes that one thread links and unlinks while others walk them.
//!
//! One thread, because there is one [`IndexWriter`] and changing takes it `&mut`. A node that is unlinked is freed when nobody can be walking over it any more (crossbeam-epoch). Nodes are never changed but for their
//! links, which only the writer stores, and their marks.
#![allow(unsafe_code)]

use crate::{Number, Stored};
use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// An entry.
#[derive(Debug)]
pub(crate) struct Node {
    pub hash: u32,
    /// Its number, by which it is told apart from another of the same question at another time; DO and CD of the question; `USED`.
    mark: AtomicU32,
    pub stored: Arc<Stored>,
    next: Atomic<Node>,
}

/// Asked for since eviction last looked.
const USED: u32 = 1;
const DO: u32 = 2;
const CD: u32 = 4;
pub(crate) const BITS: u32 = 3;

/// Octets that a node and an answer take beside the answer's own, as glibc's malloc gives them out: with one word of its own, in multiples of
/// two words.
pub(crate) const OVERHEAD: usize =
    given(size_of::<Node>()) + given(size_of::<[usize; 2]>() + size_of::<Stored>());

/// Octets that so many take.
pub(crate) const fn given(octets: usize) -> usize {
    (octets + size_of::<usize>()).next_multiple_of(2 * size_of::<usize>())
}

const _: () = assert!(OVERHEAD == 32 + 64, "an octet more would cost sixteen");

impl Node {
    /// The number counts modulo 2^29: two alike of one hash, which cannot be by chance, would go in each other's stead.
    pub fn new(
        hash: u32,
        (dnssec_ok, checking_disabled): (bool, bool),
        number: u32,
        stored: Arc<Stored>,
    ) -> Node {
        let dnssec = if dnssec_ok { DO } else { 0 } | if checking_disabled { CD } else { 0 };
        let mark = number << BITS | dnssec;
        Node { hash, mark: AtomicU32::new(mark), stored, next: Atomic::null() }
    }

    /// DO and CD of the question.
    pub fn dnssec(&self) -> (bool, bool) {
        let mark = self.mark.load(Ordering::Relaxed);
        (mark & DO != 0, mark & CD != 0)
    }

    pub fn number(&self) -> Number {
        Number(self.mark.load(Ordering::Relaxed) >> BITS)
    }

    pub fn is_number(&self, number: u32) -> bool {
        (self.mark.load(Ordering::Relaxed) ^ number << BITS) >> BITS == 0
    }

    /// It was asked for.
    pub fn note_use(&self) {
        if self.mark.load(Ordering::Relaxed) & USED == 0 {
            self.mark.fetch_or(USED, Ordering::Relaxed);
        }
    }

    /// Whether it was asked for, which is forgotten.
    pub fn forget_use(&self) -> bool {
        self.mark.fetch_and(!USED, Ordering::Relaxed) & USED != 0
    }
}

#[derive(Debug)]
struct Buckets(Box<[Atomic<Node>]>);

impl Drop for Buckets {
    fn drop(&mut self) {
        // SAFETY: whoever drops the buckets is the last to have them: the index itself when it goes, or the epoch when nobody walks
        // over them any more. So nobody else has their nodes.
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

/// The index, for whoever looks something up.
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
        // SAFETY: never null while the index is there; what it leads to is freed only after all guards that could have seen it are
        // gone, or with the index.
        unsafe { self.0.load(Ordering::Acquire, guard).deref() }
    }

    /// The first node of the hash's chain that `fits`.
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

    /// How many chains there are.
    pub fn len(&self) -> usize {
        self.buckets(&epoch::pin()).0.len()
    }

    /// Tells of every node of so many chains from `at` on.
    pub fn each(&self, at: usize, chains: usize, mut tell: impl FnMut(&Node)) {
        let guard = &epoch::pin();
        for bucket in self.buckets(guard).0.iter().skip(at).take(chains) {
            let mut link = bucket;
            while let Some(node) = follow(link, guard) {
                tell(node);
                link = &node.next;
            }
        }
    }
}

fn follow<'g>(link: &Atomic<Node>, guard: &'g Guard) -> Option<&'g Node> {
    // SAFETY: a node that a link led to when the guard was there is freed only when the guard is gone; it was whole before the link to
    // it was stored with `Release`.
    unsafe { link.load(Ordering::Acquire, guard).as_ref() }
}

impl Drop for Index {
    fn drop(&mut self) {
        // SAFETY: nobody else has the index any more, nor anything that it leads to.
        unsafe {
            let all = self.0.load(Ordering::Relaxed, epoch::unprotected());
            if !all.is_null() {
                drop(all.into_owned());
            }
        }
    }
}

/// The one who changes an index.
#[derive(Debug)]
pub(crate) struct IndexWriter(Arc<Index>);

impl IndexWriter {
    pub fn new(count: usize) -> IndexWriter {
        IndexWriter(Arc::new(Index(Atomic::new(buckets(count)))))
    }

    /// For readers.
    pub fn index(&self) -> &Arc<Index> {
        &self.0
    }

    pub fn insert(&mut self, node: Node) {
        let guard = &epoch::pin();
        self.0.buckets(guard).link(node, guard);
    }

    /// Unlinks the nodes of the hash's chain that `fits` holds for, and tells of each.
    pub fn remove(&mut self, hash: u32, fits: impl Fn(&Node) -> bool, mut gone: impl FnMut(&Node)) {
        let guard = &epoch::pin();
        let mut link = self.0.buckets(guard).chain(hash);
        while let Some(node) = follow(link, guard) {
            if node.hash != hash || !fits(node) {
                link = &node.next;
                continue;
            }
            gone(node);
            let at = link.load(Ordering::Relaxed, guard);
            link.store(node.next.load(Ordering::Relaxed, guard), Ordering::Release);
            // SAFETY: no link leads to it any more, and it is given up once: only we unlink. Whoever walks over it still finds the way on, for its
            // own link stays.
            unsafe { guard.defer_destroy(at) };
        }
    }

    /// Puts everything into so many buckets.
    pub fn rebuild(&mut self, count: usize) {
        let guard = &epoch::pin();
        let fresh = buckets(count);
        self.0.each(0, usize::MAX, |node| {
            let mark = AtomicU32::new(node.mark.load(Ordering::Relaxed));
            let stored = Arc::clone(&node.stored);
            fresh.link(Node { hash: node.hash, mark, stored, next: Atomic::null() }, guard);
        });
        let old = self.0.0.swap(Owned::new(fresh), Ordering::AcqRel, guard);
        // SAFETY: the index leads to the new buckets now; the old ones are given up once, with their nodes.
        unsafe { guard.defer_destroy(old) };
    }
}
