//! The writer's announcements besides entries: counters, the daemon's address and process, its
//! network, and its end.

use crate::counters::Counters;
use crate::families::FamilyPolicy;
use crate::layout::{CLOSED, LIVE, head};
use crate::seqlock::{peek, publish, set};
use crate::stale::StaleTime;
use crate::writer::Writer;
use core::net::SocketAddr;

impl Writer {
    /// Publishes the counters in the header.
    pub fn set_counters(&self, counters: &Counters) {
        for (word, value) in self.words()[head::COUNTERS..].iter().zip(counters.0) {
            set(word, value);
        }
    }

    /// Publishes the address at which the daemon answers queries; `None` if there is none.
    pub fn set_dns_address(&self, address: Option<SocketAddr>) {
        let words = self.words();
        let (family, octets, port) = match address {
            Some(SocketAddr::V4(v4)) => {
                let mut octets = [0; 16];
                octets[..4].copy_from_slice(&v4.ip().octets());
                (4, octets, v4.port())
            }
            Some(SocketAddr::V6(v6)) => (6, v6.ip().octets(), v6.port()),
            None => (0, [0; 16], 0),
        };
        let half = |octets: &[u8]| octets.iter().rev().fold(0, |word, octet| word << 8 | u64::from(*octet));
        set(&words[head::DNS + 1], half(&octets[..8]));
        set(&words[head::DNS + 2], half(&octets[8..]));
        set(&words[head::DNS], family << 16 | u64::from(port));
    }

    /// Publishes the writer's process id and the id of this boot.
    pub fn set_owner(&self, pid: u32, boot: [u64; 2]) {
        let words = self.words();
        set(&words[head::PID], u64::from(pid));
        set(&words[head::BOOT], boot[0]);
        set(&words[head::BOOT + 1], boot[1]);
        publish(&words[head::STATE], LIVE);
    }

    /// Publishes the number of the network namespace in which the answers are valid; 0 if unknown.
    pub fn set_network(&self, number: u32) {
        set(&self.words()[head::NETWORK], u64::from(number));
    }

    /// Publishes how readers use the two families of a name.
    pub fn set_families(&self, policy: FamilyPolicy) {
        set(&self.words()[head::FAMILIES], policy.to_word());
    }

    /// Publishes for how long expired addresses may be used.
    pub fn set_stale_time(&self, time: StaleTime) {
        set(&self.words()[head::STALE], time.word());
    }

    /// Publishes the round of the sets that are restored after a boot.
    pub fn set_restored_round(&self, round: u64) {
        set(&self.words()[head::RESTORED], round);
    }

    /// Publishes the first of the rounds of the sets that other hosts of the site have learned.
    pub fn set_site_rounds(&self, first: u64) {
        set(&self.words()[head::SITE], first);
    }

    /// Copies the counters, the DNS address, the clock offset, the policy for families, the time for stale
    /// addresses, and the rounds of restored sets and of sets of the site from the predecessor, but not its
    /// owner and network.
    pub(crate) fn announce_like(&self, before: &Writer) {
        let (words, from) = (self.words(), before.words());
        let counters = head::COUNTERS..head::COUNTERS + crate::counters::COUNT;
        let dns = head::DNS..head::DNS + 3;
        let single = [head::CLOCK_OFFSET, head::FAMILIES, head::STALE, head::RESTORED, head::SITE];
        for at in dns.chain(single).chain(counters) {
            set(&words[at], peek(&from[at]));
        }
    }

    /// Publishes the difference between the wall clock and the table's clock, by which readers
    /// notice that they are in another time namespace. To be called about once a second, since the
    /// wall clock can be set.
    #[cfg(not(loom))]
    pub fn note_clocks(&self) {
        set(&self.words()[head::CLOCK_OFFSET], crate::time::clock_offset_ms());
    }

    /// Publishes that the daemon stops. Entries stay readable until they expire.
    pub fn close(&mut self) {
        #[cfg(not(loom))]
        {
            self.alive = None;
        }
        publish(&self.words()[head::STATE], CLOSED);
        self.changed(0);
        #[cfg(not(loom))]
        {
            // The process may end before the waking thread runs.
            self.wake = None;
            [head::CHANGES, head::WAKING].iter().for_each(|at| crate::futex::wake(&self.words()[*at]));
        }
    }
}
