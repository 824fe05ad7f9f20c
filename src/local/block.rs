//! Block lists: names that are denied, or answered with an address of the operator's choice.

use crate::layered::{Edition, Layered};
use crate::rules::{Line, Means, read};
use crate::text::{PassedOver, each_line, shown};
use crate::written::in_any_letters;
use crate::{Data, FILE_TTL_S, Reason, Said};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::io::BufRead;
use std::net::IpAddr;
use std::sync::Arc;

/// What is said of a blocked name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// NXDOMAIN.
    #[default]
    NxDomain,
    /// NOERROR without records.
    NoData,
    /// These addresses; NODATA for other types.
    Addresses(Vec<IpAddr>),
}

/// What a plain name in a list covers. A line of a hosts file covers its names alone, `*.name` the name and what is below.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Match {
    /// The name and everything below it.
    #[default]
    Subtree,
    /// The name alone.
    Exact,
}

/// The names of one list.
#[derive(Debug, Default)]
pub struct List {
    names: Layered,
    /// Names that are not blocked, nor what is below them, whatever list has them.
    allowed: Layered,
}

/// A list that is being read.
struct Reading {
    names: Edition,
    allowed: Edition,
}

/// Lists, and what is said of their names.
#[derive(Debug, Default)]
pub struct Block {
    lists: Vec<Arc<List>>,
    verdict: Verdict,
}

const EXACT: u32 = 0;
const SUBTREE: u32 = 1;

/// Names at the top of many hosts files that block nothing.
const NOT_BLOCKED: [&[u8]; 4] =
    [b"\x09localhost\0", b"\x09localhost\x0blocaldomain\0", b"\x05local\0", b"\x0dbroadcasthost\0"];

impl List {
    /// Reads a list, in any of the formats of hither.toml(5).
    #[must_use]
    pub fn read(text: &[u8], covers: Match) -> (List, PassedOver) {
        // Memory can be read.
        List::read_from(text, covers, None).unwrap_or_default()
    }

    /// Reads a list line by line. What it has in common with `before`, its last edition, is shared with that: as long as most names are
    /// in both, both take little more memory than one.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read_from(
        file: impl BufRead,
        covers: Match,
        before: Option<&List>,
    ) -> std::io::Result<(List, PassedOver)> {
        let mut passed = PassedOver::default();
        let mut list = Reading {
            names: Edition::after(before.map(|before| &before.names)),
            allowed: Edition::after(before.map(|before| &before.allowed)),
        };
        each_line(file, &mut passed, |passed, number, line| {
            let mut mapped = false;
            let add = |name: &[u8], means| {
                mapped |= !name.is_ascii();
                list.add(name, means, covers)
            };
            match read(line, add) {
                Ok(Line::Nothing | Line::Rule) => passed.mapped += usize::from(mapped),
                Ok(Line::Remark) => passed.remarks += 1,
                Err(why) => passed.add(number, || format!("{}: {why}", shown(line.trim_ascii()))),
            }
        })?;
        Ok((list.finish().map_err(std::io::Error::other)?, passed))
    }

    /// Names of the configuration, each with what it covers.
    #[must_use]
    pub fn of(names: &[(Name, Match)]) -> List {
        let mut list = Reading { names: Edition::after(None), allowed: Edition::after(None) };
        for (name, covers) in names {
            // Some dozens of them: there is room, and the root was refused before.
            let _ = list.block(name, if *covers == Match::Subtree { SUBTREE } else { EXACT });
        }
        list.finish().unwrap_or_default()
    }

    /// How many names are blocked, with what is below them or without.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.allowed.is_empty()
    }

    /// Octets of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.names.memory() + self.allowed.memory()
    }

    fn blocks(&self, name: &Name) -> bool {
        covers(&self.names, name)
    }

    fn allows(&self, name: &Name) -> bool {
        covers(&self.allowed, name)
    }
}

impl Reading {
    fn add(&mut self, text: &[u8], means: Means, covers: Match) -> Result<(), String> {
        let mut octets = None;
        let name = in_any_letters(text, |as_octets| octets = Some(as_octets))?;
        for name in std::iter::once(name).chain(octets) {
            match (means, covers) {
                (Means::Allowed, _) => self.allowed.add(&name, SUBTREE).ok_or_else(full)?,
                (Means::Exactly, _) | (Means::AsChosen, Match::Exact) => self.block(&name, EXACT)?,
                (Means::Below, _) | (Means::AsChosen, Match::Subtree) => self.block(&name, SUBTREE)?,
            }
        }
        Ok(())
    }

    fn block(&mut self, name: &Name, number: u32) -> Result<(), String> {
        if NOT_BLOCKED.contains(&name.as_wire()) {
            return Ok(());
        }
        if name.is_root() {
            return Err("it is every name".to_owned());
        }
        self.names.add(name, number).ok_or_else(full)
    }

    fn finish(self) -> Result<List, String> {
        let names = self.names.finish().ok_or_else(full)?;
        Ok(List { names, allowed: self.allowed.finish().ok_or_else(full)? })
    }
}

fn full() -> String {
    "there is no room for more names".to_owned()
}

/// Whether `name` is there, or a name above it with all that is below it.
fn covers(names: &Layered, name: &Name) -> bool {
    if names.is_empty() {
        return false;
    }
    if names.get(name.as_wire()).is_some() {
        return true;
    }
    let mut wire = name.as_wire();
    while let Some((length @ 1.., rest)) = wire.split_first() {
        wire = rest.get(usize::from(*length)..).unwrap_or_default();
        if names.get(wire) == Some(SUBTREE) {
            return true;
        }
    }
    false
}

impl Block {
    /// An empty one.
    #[must_use]
    pub fn new(verdict: Verdict) -> Block {
        Block { lists: Vec::new(), verdict }
    }

    /// Adds a list that was read.
    pub fn push(&mut self, list: Arc<List>) {
        self.lists.push(list);
    }

    /// Reads a list and adds it. Returns what was passed over.
    pub fn add(&mut self, text: &[u8], covers: Match) -> PassedOver {
        let (list, passed) = List::read(text, covers);
        self.push(Arc::new(list));
        passed
    }

    /// How many names its lists have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }

    /// Whether none are blocked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.lists.iter().map(|list| list.memory()).sum()
    }

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if !self.blocks(name) {
            return None;
        }
        Some(match &self.verdict {
            Verdict::NxDomain => Said::nothing(Reason::Blocked, false, FILE_TTL_S),
            Verdict::NoData => Said::nothing(Reason::Blocked, true, FILE_TTL_S),
            Verdict::Addresses(addresses) => {
                Said::new(Reason::Blocked, Data::addresses(addresses, rtype), FILE_TTL_S)
            }
        })
    }

    fn blocks(&self, name: &Name) -> bool {
        self.lists.iter().any(|list| list.blocks(name)) && !self.lists.iter().any(|list| list.allows(name))
    }
}
