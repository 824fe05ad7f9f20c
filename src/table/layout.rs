//! Where everything stands in the table: offsets and sizes in 64-bit words, part of the ABI.
//!
//! `[header 512 words][ring][index, 8 words a bucket][data, 8 words a line]`. All words are little-endian and only ever accessed whole.

/// `"HITHER\x01\n"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"HITHER\x01\n");
/// Major version above, minor below: a reader needs the same major. Since 1.1 there is [`head::NETWORK`]; since 1.2
/// [`crate::Address::TRUSTED`] and [`crate::Negative::Withheld`].
pub const ABI: u64 = 1 << 32 | 2;
/// Reads differently on a machine of the other byte order.
pub const ENDIAN: u64 = 0x0102_0304_0506_0708;
/// Words of a cache line.
pub const LINE: usize = 8;
/// Words of the header.
pub const HEADER: usize = 512;
/// Slots of the change ring; a power of two.
pub const RING: usize = 4096;
/// Place of a change in the ring.
pub const SLOTS_MASK: usize = RING - 1;
/// Words of the largest record: 16 KiB.
pub const RECORD_MAX: usize = 2048;
/// Lines of a chunk; every size class divides it.
pub const CHUNK: usize = 768;
/// Sizes of records, in lines.
pub const CLASSES: [usize; 14] = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256];
/// Tries of a reader before it says busy.
pub const TRIES: usize = 64;
/// Addresses of one family in a record.
pub const ADDRESSES_MAX: usize = 255;
/// How far a reader's difference of wall and boot time may be from the writer's before they live in different time namespaces.
pub const CLOCK_SLACK_MS: u64 = 2000;
/// Versions stay below, so that every JSON reader keeps them exact.
pub const VERSION_MAX: u64 = 1 << 53;

/// Words of the header.
pub mod head {
    /// [`super::MAGIC`], stored last.
    pub const MAGIC: usize = 0;
    /// [`super::ABI`].
    pub const ABI: usize = 1;
    /// [`super::ENDIAN`].
    pub const ENDIAN: usize = 2;
    /// Feature bits a reader must know; none yet.
    pub const FEATURES: usize = 3;
    /// Octets of the file.
    pub const FILE: usize = 5;
    /// Random, different for every table.
    pub const GENERATION: usize = 6;
    /// Of words 0 to 15, this one excepted, and of the eight of the hash.
    pub const CHECKSUM: usize = 7;
    /// Buckets of the index, less one.
    pub const MASK: usize = 10;
    /// First word of the index.
    pub const INDEX: usize = 11;
    /// First word of the data.
    pub const DATA: usize = 12;
    /// Lines of data.
    pub const LINES: usize = 13;
    /// First word of the ring.
    pub const RING: usize = 14;
    /// Slots of the ring.
    pub const SLOTS: usize = 15;
    /// [`super::LIVE`], [`super::SUPERSEDED`] or [`super::CLOSED`].
    pub const STATE: usize = 16;
    /// Records with a lower version have been flushed.
    pub const FLUSHED: usize = 17;
    /// The network namespace that the answers hold in, by its number (`crate::network`); 0: not told.
    pub const NETWORK: usize = 18;
    /// The last version published.
    pub const VERSION: usize = 24;
    /// Changes so far; the lower half is a futex.
    pub const CHANGES: usize = 32;
    /// Never written: its lower half is the futex where those who waited for a change are woken, see `rouse.rs`.
    pub const WAKING: usize = 33;
    /// Process id of the writer.
    pub const PID: usize = 40;
    /// The writer's thread id in the lower half; the kernel sets bit 30 when that thread dies (a robust futex).
    pub const ALIVE: usize = 41;
    /// The boot this table belongs to, two words.
    pub const BOOT: usize = 42;
    /// Where the daemon answers: port, family in bits 16 and up; then the address's octets, two words.
    pub const DNS: usize = 44;
    /// The wall clock less the table's clock, in milliseconds; refreshed with the counters.
    pub const CLOCK_OFFSET: usize = 47;
    /// Seed and secrets of the hash, eight words; never change.
    pub const HASH: usize = 48;
    /// The counters.
    pub const COUNTERS: usize = 64;
}

/// Words of the header, from its first on, that [`crate::pulse`] looks at.
pub const PULSE: usize = head::COUNTERS + crate::counters::COUNT;

/// First octet of a hint to the daemon: an entry whose time is nearly over is still wanted. Then its families (1: A, 2: AAAA,
/// 3: both), then the name in wire form.
pub const HINT: u8 = 1;

/// Set by the kernel in [`head::ALIVE`] when the writer has died.
pub const OWNER_DIED: u32 = 0x4000_0000;

/// The table is in use.
pub const LIVE: u64 = 1;
/// Another file has taken its place: open that.
pub const SUPERSEDED: u64 = 2;
/// The daemon has stopped in good order; entries stay readable until they expire.
pub const CLOSED: u64 = 3;

/// Words of a record before its family blocks: version, shape, checksum.
pub const RECORD_HEAD: usize = 3;
/// Words of a family block.
pub const BLOCK: usize = 4;

const _: () = {
    assert!(RING.is_power_of_two());
    assert!(PULSE <= HEADER);
    let mut class = 0;
    while class < CLASSES.len() {
        assert!(CHUNK.is_multiple_of(CLASSES[class]));
        class += 1;
    }
    assert!(CLASSES[CLASSES.len() - 1] * LINE == RECORD_MAX);
};

/// Mixes words into one, so that a torn or damaged record is noticed. Not against malice: who can write the table can do worse.
#[must_use]
pub fn checksum(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0x9e37_79b9_7f4a_7c15_u64, |sum, word| {
        let product = u128::from(sum ^ word) * u128::from(0xd6e8_feb8_6659_fd93_u64);
        (product as u64) ^ ((product >> 64) as u64) ^ 0x2545_f491_4f6c_dd1d
    })
}
