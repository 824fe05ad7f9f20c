//! Reading a file, one set after the other. Whether the file is complete and intact is known only when
//! its end has been read.

use crate::{ENDIAN, Fault, Header, MAGIC, Set, USUAL_MAX, VERSION};
use core::fmt;
use std::io::{self, Read};

/// Why a file cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The read failed.
    Io(io::Error),
    /// The first octets are not [`MAGIC`].
    Magic,
    /// The file was written on a machine of the other byte order.
    ByteOrder,
    /// The file has this other version of the format.
    Version(u32),
    /// The header is damaged.
    Header,
    /// The file ends before its end mark.
    Cut,
    /// A set cannot be decoded.
    Set {
        /// The number of the set, counted from 0.
        n: u64,
        /// Why it cannot be decoded.
        fault: Fault,
    },
    /// The number of sets differs from the one at the end.
    Count,
    /// The checksum of the file is wrong.
    Checksum,
    /// Octets follow the end.
    Trailing,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Magic => f.write_str("its first octets are others"),
            Self::ByteOrder => f.write_str("it is from a machine of the other byte order"),
            Self::Version(version) => write!(f, "it has version {version}, known is {VERSION}"),
            Self::Header => f.write_str("the checksum of its header is wrong"),
            Self::Cut => f.write_str("it is cut off"),
            Self::Set { n, fault } => write!(f, "set {n} in it is wrong: {fault}"),
            Self::Count => f.write_str("it has another number of sets than it says"),
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::Trailing => f.write_str("something follows its end"),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Cut,
            _ => ReadError::Io(error),
        }
    }
}

/// Reads sets from `from`, which should be buffered. Holds one set in memory.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    sum: crc32fast::Hasher,
    sets: u64,
    /// Memory for the octets of a set, which is reused.
    set: Vec<u8>,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// A [`ReadError`].
    pub fn open(from: R) -> Result<(Header, Reader<R>), ReadError> {
        let mut reader =
            Reader { from, sum: crc32fast::Hasher::new(), sets: 0, set: Vec::new(), ended: false };
        if reader.array::<8>()? != MAGIC {
            return Err(ReadError::Magic);
        }
        let version = u32::from_le_bytes(reader.array()?);
        let endian = u32::from_le_bytes(reader.array()?);
        if endian == ENDIAN.swap_bytes() {
            return Err(ReadError::ByteOrder);
        }
        if version != VERSION {
            return Err(ReadError::Version(version));
        }
        let saved_ms = u64::from_le_bytes(reader.array()?);
        let table_version = u64::from_le_bytes(reader.array()?);
        let mut usual = [0; USUAL_MAX];
        for mark in &mut usual {
            *mark = u64::from_le_bytes(reader.array()?);
        }
        let sum = reader.sum.clone().finalize();
        if endian != ENDIAN || u32::from_le_bytes(reader.array()?) != sum {
            return Err(ReadError::Header);
        }
        Ok((Header { saved_ms, version: table_version, usual }, reader))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut octets = [0; N];
        self.from.read_exact(&mut octets)?;
        self.sum.update(&octets);
        Ok(octets)
    }

    /// The next set; `None` at the end, if the file is complete and intact.
    ///
    /// # Errors
    /// A [`ReadError`]; nothing more can be read after it.
    pub fn next_set(&mut self) -> Result<Option<Set>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length == 0 {
            return self.end().map(|()| None);
        }
        self.set.resize(length, 0);
        self.from.read_exact(&mut self.set)?;
        self.sum.update(&self.set);
        let set = Set::decode(&self.set).map_err(|fault| ReadError::Set { n: self.sets, fault })?;
        self.sets += 1;
        Ok(Some(set))
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let sets = u64::from_le_bytes(self.array()?);
        let sum = self.sum.clone().finalize();
        if u32::from_le_bytes(self.array()?) != sum {
            return Err(ReadError::Checksum);
        }
        if sets != self.sets {
            return Err(ReadError::Count);
        }
        match self.from.read_exact(&mut [0]) {
            Ok(()) => Err(ReadError::Trailing),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.ended = true;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
