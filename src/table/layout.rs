//! The table's layout: offsets and sizes in 64-bit words. All of it is part of the ABI, described
//! in hither-table(5) and pinned by `tests/abi.rs`.
//!
//! `[header 512 words][ring][index, 8 words a bucket][data, 8 words a line]`. The first chunks of the
//! data hold the metrics, whose layout is not part of the ABI. Every word is little-endian, and is
//! loaded and stored as a whole.

/// The first word of a table: the octets `HITHER\x01\n`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HITHER\x01\n");
/// The major version in the upper half, the minor version in the lower half. A reader needs the
/// same major version. Since 1.1 there is [`head::NETWORK`]; since 1.2 [`crate::Address::TRUSTED`]
/// and [`crate::Negative::Withheld`]; since 1.3 [`head::STALE`], [`crate::Agreement`], and sources and
/// verdict of each [`crate::Address`]; since 1.4 [`head::METRICS`]; since 1.5 [`head::SITE`].
pub const ABI: u64 = 1 << 32 | 5;
/// Has another value when it is read on a machine of the other byte order.
pub const ENDIAN: u64 = 0x0102_0304_0506_0708;
/// Words of a cache line.
pub const LINE: usize = 8;
/// Words of the header.
pub const HEADER: usize = 512;
/// Slots of the change ring; a power of two.
pub const RING: usize = 4096;
/// Gives the slot of a change, by the lowest bits of its number.
pub const SLOTS_MASK: usize = RING - 1;
/// Words of the largest record: 16 KiB.
pub const RECORD_MAX: usize = 2048;
/// Lines of a chunk. Each chunk has records of one class, whose size divides it.
pub const CHUNK: usize = 768;
/// Chunks at the beginning of the data that hold the metrics, and never a record.
pub const METRICS_CHUNKS: usize = 2;
/// Words of the metrics.
pub const METRICS_WORDS: usize = METRICS_CHUNKS * CHUNK * LINE;
/// The classes: sizes of records in lines.
pub const CLASSES: [usize; 14] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256];
/// Tries of a lookup before it returns [`crate::NoEntry::Busy`].
pub const TRIES_MAX: usize = 64;
/// Addresses of one family in a record.
pub const ADDRESSES_MAX: usize = 255;
/// How far a reader's [`head::CLOCK_OFFSET`] may differ from the writer's. Beyond that the reader
/// is in another time namespace.
pub const CLOCK_SLACK_MS: u64 = 2000;
/// Rounds of the sets that other hosts of the site have learned: one for each hash of a host's name.
pub const SITE_ROUNDS: u64 = 1 << 16;
/// All versions are below this, since JSON readers keep integers up to 2^53 exact.
pub const VERSION_MAX: u64 = 1 << 53;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident = $at:expr;)*) => {
        $($(#[$doc])* pub const $name: usize = $at;)*

        /// The name and position of each word above.
        pub const ALL: &[(&str, usize)] = &[$((stringify!($name), $name)),*];
    };
}

/// Positions of the words of the header.
pub mod head {
    words! {
        /// [`super::MAGIC`]; stored last, when the table is complete.
        MAGIC = 0;
        /// [`super::ABI`].
        ABI = 1;
        /// [`super::ENDIAN`].
        ENDIAN = 2;
        /// Feature bits, all of which a reader must know; none is defined yet.
        FEATURES = 3;
        /// Octets of the file.
        FILE = 5;
        /// A random number that distinguishes this table from every other.
        GENERATION = 6;
        /// The checksum of words 0 to 15, without this one, and of the eight words from [`HASH`]
        /// on.
        CHECKSUM = 7;
        /// The first word of the metrics, see `hither_table::Metrics`; 0 in tables before ABI 1.4. Their
        /// layout may change at any time.
        METRICS = 8;
        /// Words of the metrics.
        METRICS_WORDS = 9;
        /// Buckets of the index, minus one; a bit mask, since their number is a power of two.
        MASK = 10;
        /// The first word of the index.
        INDEX = 11;
        /// The first word of the data.
        DATA = 12;
        /// Lines of data.
        LINES = 13;
        /// The first word of the ring.
        RING = 14;
        /// Slots of the ring.
        SLOTS = 15;
        /// [`super::LIVE`], [`super::SUPERSEDED`] or [`super::CLOSED`].
        STATE = 16;
        /// Records with a lower version have been flushed.
        FLUSHED = 17;
        /// The number of the network namespace in which the answers are valid, see
        /// [`crate::network`]; 0 if unknown.
        NETWORK = 18;
        /// How readers order both families, and which they withhold, see [`crate::FamilyPolicy`]; 0 in
        /// tables before ABI 1.3.
        FAMILIES = 19;
        /// For how long expired addresses may be used, see [`crate::StaleTime`]; 0 if unknown.
        STALE = 20;
        /// The round of the sets that were restored after a boot: no client has asked for these since.
        /// 0: none was restored.
        RESTORED = 21;
        /// The first of the [`super::SITE_ROUNDS`] rounds that sets of other hosts of the site have. 0: there
        /// are no such sets, as always before ABI 1.5.
        SITE = 22;
        /// The last version published.
        VERSION = 24;
        /// The number of changes; its lower half is a futex.
        CHANGES = 32;
        /// Never written. Its lower half is the futex to which waiters are moved before they are
        /// woken, see `wake.rs`.
        WAKING = 33;
        /// The writer's process id.
        PID = 40;
        /// The writer's thread id in the lower half, where the kernel sets [`super::OWNER_DIED`]
        /// when that thread dies.
        ALIVE = 41;
        /// The id of the boot in which the table was written; two words.
        BOOT = 42;
        /// The address at which the daemon answers queries: the port in bits 0 to 15, the family (4
        /// or 6) above; then the address in two words.
        DNS = 44;
        /// The wall clock minus the table's clock, in milliseconds; updated with the counters.
        CLOCK_OFFSET = 47;
        /// Seed and secrets of the hash; eight words that never change.
        HASH = 48;
        /// The counters, see [`crate::Counter`].
        COUNTERS = 64;
    }
}

/// The words of the header that [`crate::activity`] reads: those below this one.
pub const ACTIVITY_WORDS: usize = head::COUNTERS + crate::counters::COUNT;

/// The first octet of a hint: a reader still uses an entry that is about to expire. The second
/// octet has its families (1: A, 2: AAAA, 3: both), then comes the name in wire form.
pub const HINT: u8 = 1;

/// The bit of [`head::ALIVE`] that the kernel sets when the writer has died (`FUTEX_OWNER_DIED`).
pub const OWNER_DIED: u32 = 0x4000_0000;

/// The daemon uses the table.
pub const LIVE: u64 = 1;
/// Another file has replaced the table: open that one.
pub const SUPERSEDED: u64 = 2;
/// The daemon has stopped in good order; entries stay readable until they expire.
pub const CLOSED: u64 = 3;

/// Words of a record before its family blocks: version, shape, checksum.
pub const RECORD_HEAD: usize = 3;
/// Words of a family block.
pub const BLOCK: usize = 4;

const _: () = {
    assert!(RING.is_power_of_two());
    assert!(ACTIVITY_WORDS <= HEADER);
    let mut class = 0;
    while class < CLASSES.len() {
        assert!(CHUNK.is_multiple_of(CLASSES[class]));
        class += 1;
    }
    assert!(CLASSES[CLASSES.len() - 1] * LINE == RECORD_MAX);
};

/// The checksum of some words, by which torn and damaged records are noticed. It is no protection
/// against an attacker: a process that can write the table could write the checksum too.
#[must_use]
pub fn checksum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0x9e37_79b9_7f4a_7c15_u64, |sum, word| {
        let product = u128::from(sum ^ word) * u128::from(0xd6e8_feb8_6659_fd93_u64);
        (product as u64) ^ ((product >> 64) as u64) ^ 0x2545_f491_4f6c_dd1d
    })
}
