//! Writing a file, one set after the other.

use crate::{ENDIAN, Header, MAGIC, Set, VERSION};
use std::io::{self, Write};

/// Writes sets to `to`, which should be buffered: each set is one write.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    sum: crc32fast::Hasher,
    sets: u64,
    octets: u64,
    /// Memory for the octets of a set, which is reused.
    set: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header.
    ///
    /// # Errors
    /// The error of `to`.
    pub fn begin(to: W, header: &Header) -> io::Result<Writer<W>> {
        let mut octets = MAGIC.to_vec();
        octets.extend(VERSION.to_le_bytes());
        octets.extend(ENDIAN.to_le_bytes());
        octets.extend(header.saved_ms.to_le_bytes());
        octets.extend(header.version.to_le_bytes());
        octets.extend(header.usual.iter().flat_map(|mark| mark.to_le_bytes()));
        octets.extend(crc32fast::hash(&octets).to_le_bytes());
        let mut writer = Writer { to, sum: crc32fast::Hasher::new(), sets: 0, octets: 0, set: Vec::new() };
        writer.put(&octets)?;
        Ok(writer)
    }

    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.sum.update(octets);
        self.octets += octets.len() as u64;
        self.to.write_all(octets)
    }

    /// Adds a set. `false`: the set could not be decoded again, so it was left out.
    ///
    /// # Errors
    /// The error of `to`.
    pub fn add(&mut self, set: &Set) -> io::Result<bool> {
        let mut octets = std::mem::take(&mut self.set);
        octets.clear();
        octets.extend([0, 0]);
        let length = match set.encode(&mut octets) {
            Ok(()) => u16::try_from(octets.len() - 2).ok(),
            Err(_) => None,
        };
        let written = length.map(|length| {
            octets[..2].copy_from_slice(&length.to_le_bytes());
            self.put(&octets)
        });
        self.set = octets;
        self.sets += u64::from(written.is_some());
        written.map_or(Ok(false), |written| written.map(|()| true))
    }

    /// The number of sets so far.
    #[must_use]
    pub fn sets(&self) -> u64 {
        self.sets
    }

    /// The number of octets so far.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Ends the file and returns `to`, which the caller must flush.
    ///
    /// # Errors
    /// The error of `to`.
    pub fn finish(mut self) -> io::Result<W> {
        let mut octets = vec![0, 0];
        octets.extend(self.sets.to_le_bytes());
        self.put(&octets)?;
        let sum = self.sum.clone().finalize();
        self.put(&sum.to_le_bytes())?;
        Ok(self.to)
    }
}
