//! Block lists: names that are denied, or answered with addresses that the operator chose.

use crate::layered::{Edition, Layered};
use crate::parse_name::maybe_idn;
use crate::rules::{Line, Scope, read};
use crate::text::{PassedOver, each_line, shown};
use crate::{Data, FILE_TTL_S, LocalAnswer, Reason};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::io::BufRead;
use std::net::IpAddr;
use std::sync::Arc;

/// The answer for a blocked name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// The name does not exist (NXDOMAIN).
    #[default]
    NxDomain,
    /// The name exists without records of any type (NODATA).
    NoData,
    /// These addresses for A and AAAA, NODATA for other types.
    Addresses(Vec<IpAddr>),
}

/// Which names a plain name in a list covers. In other formats the format decides: a line of hosts(5)
/// covers only its names, `*.name` covers the name and all names below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Match {
    /// The name and all names below it.
    #[default]
    Subtree,
    /// Only the name itself.
    Exact,
}

/// The names of one list.
#[derive(Debug, Default)]
pub struct List {
    names: Layered,
    /// Exceptions: these names and all names below them are not blocked by any list of the same block.
    allowed: Layered,
}

/// A list while it is read.
struct Reading {
    names: Edition,
    allowed: Edition,
}

/// One `[[block]]` of the configuration: lists, and the answer for their names.
#[derive(Debug, Default)]
pub struct Block {
    lists: Vec<Arc<List>>,
    verdict: Verdict,
}

/// The number of a name that is blocked alone.
const EXACT: u32 = 0;
/// The number of a name that is blocked with all names below it.
const SUBTREE: u32 = 1;

/// Names that stand at the top of many published hosts files and must not be blocked.
const NOT_BLOCKED: [&[u8]; 4] =
    [b"\x09localhost\0", b"\x09localhost\x0blocaldomain\0", b"\x05local\0", b"\x0dbroadcasthost\0"];

impl List {
    /// Reads a list, in any of the formats of hither.toml(5).
    #[must_use]
    pub fn read(text: &[u8], covers: Match) -> (List, PassedOver) {
        // Reading from memory does not fail.
        List::read_from(text, covers, None).unwrap_or_default()
    }

    /// Reads a list line by line. Memory is shared with `before`, the previous edition of the list: if
    /// most names are in both, the two take little more memory than one.
    ///
    /// # Errors
    /// If the file cannot be read, or has more names than the memory layout allows.
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
            let mut is_idn = false;
            let add = |name: &[u8], scope| {
                is_idn |= !name.is_ascii();
                list.add(name, scope, covers)
            };
            match read(line, add) {
                Ok(Line::Empty | Line::Rule) => passed.idn += usize::from(is_idn),
                Ok(Line::Remark) => passed.remarks += 1,
                Err(why) => passed.add(number, || format!("{}: {why}", shown(line.trim_ascii()))),
            }
        })?;
        Ok((list.finish().map_err(std::io::Error::other)?, passed))
    }

    /// A list of the names in the configuration, each with the names that it covers.
    #[must_use]
    pub fn of(names: &[(Name, Match)]) -> List {
        let mut list = Reading { names: Edition::after(None), allowed: Edition::after(None) };
        for (name, covers) in names {
            // This cannot fail: the names are few, and the configuration refuses the root.
            let _ = list.block(name, if *covers == Match::Subtree { SUBTREE } else { EXACT });
        }
        list.finish().unwrap_or_default()
    }

    /// How many names the list contains, exceptions not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether the list contains neither names nor exceptions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.allowed.is_empty()
    }

    /// How many octets of memory the list takes.
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
    fn add(&mut self, text: &[u8], scope: Scope, covers: Match) -> Result<(), String> {
        let mut octets = None;
        let name = maybe_idn(text, |as_octets| octets = Some(as_octets))?;
        for name in std::iter::once(name).chain(octets) {
            match (scope, covers) {
                (Scope::Allowed, _) => self.allowed.add(&name, SUBTREE).ok_or_else(full)?,
                (Scope::Exact, _) | (Scope::Configured, Match::Exact) => self.block(&name, EXACT)?,
                (Scope::Subtree, _) | (Scope::Configured, Match::Subtree) => self.block(&name, SUBTREE)?,
            }
        }
        Ok(())
    }

    fn block(&mut self, name: &Name, number: u32) -> Result<(), String> {
        if NOT_BLOCKED.contains(&name.as_wire()) {
            return Ok(());
        }
        if name.is_root() {
            return Err("it stands for all names".to_owned());
        }
        self.names.add(name, number).ok_or_else(full)
    }

    fn finish(self) -> Result<List, String> {
        let names = self.names.finish().ok_or_else(full)?;
        Ok(List { names, allowed: self.allowed.finish().ok_or_else(full)? })
    }
}

fn full() -> String {
    "the list is full".to_owned()
}

/// Whether `names` contains `name`, or an ancestor whose whole subtree is covered.
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
    /// A block without lists.
    #[must_use]
    pub fn new(verdict: Verdict) -> Block {
        Block { lists: Vec::new(), verdict }
    }

    /// Adds a list that has been read.
    pub fn push(&mut self, list: Arc<List>) {
        self.lists.push(list);
    }

    /// Reads a list and adds it. Returns the lines that were passed over.
    pub fn add(&mut self, text: &[u8], covers: Match) -> PassedOver {
        let (list, passed) = List::read(text, covers);
        self.push(Arc::new(list));
        passed
    }

    /// How many names the lists contain together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(|list| list.len()).sum()
    }

    /// Whether no name is blocked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many octets of memory the lists take together.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.lists.iter().map(|list| list.memory()).sum()
    }

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<LocalAnswer> {
        if !self.blocks(name) {
            return None;
        }
        Some(match &self.verdict {
            Verdict::NxDomain => LocalAnswer::negative(Reason::Blocked, false, FILE_TTL_S),
            Verdict::NoData => LocalAnswer::negative(Reason::Blocked, true, FILE_TTL_S),
            Verdict::Addresses(addresses) => {
                LocalAnswer::positive(Reason::Blocked, Data::of_type(addresses, rtype), FILE_TTL_S)
            }
        })
    }

    fn blocks(&self, name: &Name) -> bool {
        self.lists.iter().any(|list| list.blocks(name)) && !self.lists.iter().any(|list| list.allows(name))
    }
}

#[cfg(test)]
mod tests;
