//! Taking over the table that a predecessor left: what is whole stays, every doubt about the table itself ends in a new one.

use crate::alloc::class_of;
use crate::evict::Queued;
use crate::layout::{LINE, head};
use crate::memory::{Memory, OpenError};
use crate::reader::Reader;
use crate::record::Snapshot;
use crate::seqlock::{peek, publish};
use crate::writer::{Geometry, Writer};
use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why a table that is there is not taken over.
#[derive(Debug)]
pub enum Doubt {
    /// It cannot be read as a table.
    Unreadable(OpenError),
    /// It is of another size than configured.
    OtherSize,
    /// It was written before the host was started: its times mean nothing now.
    OtherBoot,
    /// Its last version cannot be one.
    Version,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::OtherSize => f.write_str("it has another size than table.entries asks for"),
            Self::OtherBoot => f.write_str("it was written before the host was started"),
            Self::Version => f.write_str("its last version is out of range"),
        }
    }
}

impl std::error::Error for Doubt {}

/// What was found in a table that was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Adopted {
    /// Entries that stayed.
    pub entries: usize,
    /// Entries that were not whole and were taken out.
    pub dropped: usize,
}

/// Versions left out after a predecessor that may have drawn, but not yet published, some.
const VERSION_GAP: u64 = 1 << 20;

impl Writer {
    /// Takes over the table in `memory`. Readers go on meanwhile and notice nothing.
    ///
    /// # Errors
    /// A [`Doubt`]; nothing has been written then.
    pub fn adopt(memory: Memory, geometry: &Geometry) -> Result<(Writer, Adopted), Doubt> {
        let reader = Reader::over(Arc::new(memory)).map_err(Doubt::Unreadable)?;
        if !geometry.fits(reader.plan.mask, reader.plan.lines) {
            return Err(Doubt::OtherSize);
        }
        let version = reader.version().saturating_add(VERSION_GAP);
        if version >= crate::layout::VERSION_MAX / 2 {
            return Err(Doubt::Version);
        }
        let mut writer = Writer::over(reader.clone(), geometry, version);
        let adopted = writer.take_over(&reader);
        Ok((writer, adopted))
    }

    fn take_over(&mut self, reader: &Reader) -> Adopted {
        let words = reader.words();
        let mut found = Adopted::default();
        let mut entry = Snapshot::new();
        // The newest record of each name, and where its index word is.
        let mut names: BTreeMap<Vec<u8>, (u64, usize)> = BTreeMap::new();
        let mut lines = Vec::new();
        for at in reader.plan.index..reader.plan.data {
            let word = peek(&words[at]);
            if word == 0 {
                continue;
            }
            let bucket = (at - reader.plan.index) / LINE;
            let whole = reader.copy(words, word, &mut entry) && reader.misfit(word, bucket, &entry).is_none();
            let newer =
                whole && names.get(entry.name()).is_none_or(|(version, _)| *version < entry.version());
            let class = class_of(entry.shape.words);
            if !newer || entry.version() > reader.version() || !self.alloc.adopt(word as u32, class) {
                publish(&words[at], 0);
                found.dropped += 1;
                continue;
            }
            names.insert(entry.name().to_vec(), (entry.version(), at));
            lines.push(word as u32);
            self.live[class] += 1;
            self.queues[class].insert(Queued { line: word as u32, version: entry.version() }, true);
            found.entries += 1;
        }
        lines.sort_unstable();
        self.alloc.adopted(|line| lines.binary_search(&line).is_ok());
        found
    }

    /// The boot of the host in which the table was last written.
    #[must_use]
    pub fn boot(&self) -> [u64; 2] {
        let reader = self.reader();
        [0, 1].map(|n| peek(&reader.words()[head::BOOT + n]))
    }
}
