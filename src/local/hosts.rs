//! Hosts files (hosts(5)) and the host's own name.

use crate::address::read_address;
use crate::parse_name::maybe_idn;
use crate::text::{PassedOver, each_line, shown, words};
use crate::{Data, FILE_TTL_S, LocalAnswer, Names, Presence, Reason, reverse};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::IpAddr;
use std::sync::Arc;

/// The entries of one hosts file.
#[derive(Debug, Default)]
pub struct HostsFile {
    /// Each name with its index in `addresses`, and each ancestor of a name with [`ANCESTOR`].
    names: Names,
    addresses: Vec<Vec<IpAddr>>,
    /// The first name of each address in wire form, for PTR queries.
    pointers: BTreeMap<IpAddr, Box<[u8]>>,
}

/// The entries of all hosts files.
#[derive(Debug, Default)]
pub struct Hosts {
    files: Vec<Arc<HostsFile>>,
}

/// Addresses of one name; further ones are ignored.
const ADDRESSES_MAX: usize = 255;
/// In place of an index: the name has no entry itself, but a name below it has.
const ANCESTOR: u32 = u32::MAX;

impl HostsFile {
    /// Reads a text whose lines are an address followed by names.
    #[must_use]
    pub fn read(text: &[u8]) -> (HostsFile, PassedOver) {
        // Reading from memory does not fail.
        HostsFile::read_from(text).unwrap_or_default()
    }

    /// Reads a file line by line, as [`HostsFile::read`] does.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_from(text: impl BufRead) -> std::io::Result<(HostsFile, PassedOver)> {
        let (mut file, mut passed) = (HostsFile::default(), PassedOver::default());
        each_line(text, &mut passed, |passed, number, line| match file.add_line(line) {
            Ok(is_idn) => passed.idn += usize::from(is_idn),
            Err(why) => passed.add(number, || format!("{}: {why}", shown(line.trim_ascii()))),
        })?;
        file.names.shrink();
        file.addresses.shrink_to_fit();
        Ok((file, passed))
    }

    /// Adds the entries of a line. Returns whether a name in it is an internationalized one.
    fn add_line(&mut self, line: &[u8]) -> Result<bool, String> {
        let mut words = words(line).peekable();
        let Some(first) = words.next() else { return Ok(false) };
        let address = read_address(first).ok_or_else(|| format!("{} is not an address", shown(first)))?;
        if words.peek().is_none() {
            return Err("a name is missing after the address".to_owned());
        }
        let (mut is_idn, mut wrong) = (false, None);
        for word in words {
            is_idn |= !word.is_ascii();
            wrong = wrong.or(self.add_word(address, word).err());
        }
        wrong.map_or(Ok(is_idn), Err)
    }

    fn add_word(&mut self, address: IpAddr, word: &[u8]) -> Result<(), String> {
        let mut octets = None;
        let name = maybe_idn(word, |as_octets| octets = Some(as_octets))
            .map_err(|why| format!("{} is not a name: {why}", shown(word)))?;
        for name in std::iter::once(name).chain(octets) {
            self.add_name(address, &name).ok_or("the file has too many names")?;
        }
        Ok(())
    }

    fn add_name(&mut self, address: IpAddr, name: &Name) -> Option<()> {
        let next = u32::try_from(self.addresses.len()).ok().filter(|next| *next != ANCESTOR)?;
        let place = match self.names.insert(name, next)? {
            ANCESTOR => {
                self.names.set(name, next);
                next
            }
            place => place,
        };
        if place == next {
            self.addresses.push(Vec::new());
            self.add_ancestors(name)?;
        }
        let addresses = self.addresses.get_mut(place as usize)?;
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
        // A line with 0.0.0.0 or :: blocks its names. They are not names of that address.
        if !address.is_unspecified() {
            self.pointers.entry(address).or_insert_with(|| name.as_wire().into());
        }
        Some(())
    }

    fn add_ancestors(&mut self, name: &Name) -> Option<()> {
        let mut above = name.parent();
        while let Some(name) = above.filter(|name| !name.is_root()) {
            let before = self.names.len();
            self.names.insert(&name, ANCESTOR)?;
            // The ancestors of a name that was known before are known too.
            above = (self.names.len() > before).then(|| name.parent()).flatten();
        }
        Some(())
    }

    /// How many names the file has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether the file has no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    fn addresses(&self, name: &Name) -> Option<&[IpAddr]> {
        let place = self.names.get(name.as_wire())?;
        self.addresses.get(place as usize).map(Vec::as_slice)
    }

    fn presence(&self, name: &Name) -> Presence {
        match self.names.get(name.as_wire()) {
            Some(ANCESTOR) => return Presence::Ancestor,
            Some(_) => return Presence::Listed,
            None => {}
        }
        match reverse::addresses(name) {
            Some(all) if all.start() == all.end() && self.pointers.contains_key(all.start()) => {
                Presence::Listed
            }
            Some(all) if self.pointers.range(all.clone()).next().is_some() => Presence::Ancestor,
            _ => Presence::Absent,
        }
    }
}

impl Hosts {
    /// Adds a file that has been read.
    pub fn push(&mut self, file: Arc<HostsFile>) {
        self.files.push(file);
    }

    /// Reads a file and adds it. Returns the lines that were passed over.
    pub fn add(&mut self, text: &[u8]) -> PassedOver {
        let (file, passed) = HostsFile::read(text);
        self.push(Arc::new(file));
        passed
    }

    /// How many names the files have together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.iter().map(|file| file.len()).sum()
    }

    /// Whether no file has a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Answers questions for addresses and PTR. Other types of the same names are forwarded, except for
    /// HTTPS and SVCB: these can carry addresses that contradict the file (RFC 9460, section 7.3).
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> Option<LocalAnswer> {
        if (rtype == Rtype::PTR || rtype == Rtype::ANY)
            && let Some(address) = reverse::address(name)
        {
            let wire = self.files.iter().find_map(|file| file.pointers.get(&address))?;
            let target = Name::from_wire(wire).ok()?;
            return Some(LocalAnswer::positive(Reason::Hosts, vec![Data::Pointer(target)], FILE_TTL_S));
        }
        let mut found: Option<Vec<IpAddr>> = None;
        for addresses in self.files.iter().filter_map(|file| file.addresses(name)) {
            let all = found.get_or_insert_default();
            let new: Vec<IpAddr> =
                addresses.iter().filter(|address| !all.contains(address)).copied().collect();
            all.extend(new.into_iter().take(ADDRESSES_MAX.saturating_sub(all.len())));
        }
        address_answer(&found?, rtype)
    }

    /// Whether the name is in a file, or is an ancestor of one that is.
    pub(crate) fn presence(&self, name: &Name) -> Presence {
        self.files.iter().map(|file| file.presence(name)).max().unwrap_or(Presence::Absent)
    }
}

fn address_answer(known: &[IpAddr], rtype: Rtype) -> Option<LocalAnswer> {
    match rtype {
        Rtype::A | Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB | Rtype::ANY => {
            Some(LocalAnswer::positive(Reason::Hosts, Data::of_type(known, rtype), FILE_TTL_S))
        }
        _ => None,
    }
}

/// The host's own name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnName {
    /// The names in lower case: the name as set, and its first label alone.
    pub names: Vec<Name>,
    /// The addresses, those that other hosts can reach first.
    pub addresses: Vec<IpAddr>,
}

impl OwnName {
    /// The own name of a host whose name is set to `text`. `None` if clients cannot ask for it: the text
    /// is empty, an address, `localhost`, or not a host name (RFC 952, but with underscores, which are
    /// common).
    #[must_use]
    pub fn of(text: &str, addresses: Vec<IpAddr>) -> Option<OwnName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_host = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        if !is_host || text.parse::<IpAddr>().is_ok() {
            return None;
        }
        let full = text.parse::<Name>().ok().filter(|full| !full.is_root())?.to_lower();
        let first =
            text.split('.').next().and_then(|label| label.parse::<Name>().ok()).map(|name| name.to_lower());
        let mut names = vec![full];
        names.extend(first.filter(|first| *first != full));
        let localhost = |name: &Name| name.labels().any(|label| label == b"localhost");
        (!names.iter().any(localhost)).then_some(OwnName { names, addresses })
    }

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<LocalAnswer> {
        if rtype == Rtype::PTR {
            let address = reverse::address(name)?;
            let own = self.names.first().filter(|_| self.addresses.contains(&address))?;
            return Some(LocalAnswer::positive(Reason::Hosts, vec![Data::Pointer(*own)], FILE_TTL_S));
        }
        self.names.contains(name).then(|| address_answer(&self.addresses, rtype)).flatten()
    }

    /// Whether `name` is the own name or an ancestor of it.
    pub(crate) fn presence(&self, name: &Name) -> Presence {
        if self.names.contains(name) {
            return Presence::Listed;
        }
        let is_above = !name.is_root() && self.names.iter().any(|own| own.ends_with(name));
        if is_above { Presence::Ancestor } else { Presence::Absent }
    }
}

#[cfg(test)]
mod tests;
