//! Hosts files (hosts(5)) and the host's own name.

use crate::text::{PassedOver, each_line, shown, words};
use crate::written::in_any_letters;
use crate::{Data, FILE_TTL_S, Known, Names, Reason, Said, address, reverse};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::IpAddr;
use std::sync::Arc;

/// What one hosts file says.
#[derive(Debug, Default)]
pub struct HostsFile {
    /// Names with the places of their addresses, and the names above them.
    names: Names,
    addresses: Vec<Vec<IpAddr>>,
    /// The first name of each address.
    pointers: BTreeMap<IpAddr, Box<[u8]>>,
}

/// What all of them say.
#[derive(Debug, Default)]
pub struct Hosts {
    files: Vec<Arc<HostsFile>>,
}

/// Addresses of one name; more say nothing that helps.
const ADDRESSES_MAX: usize = 255;
/// The place of a name that is there for what is below it.
const ABOVE: u32 = u32::MAX;

impl HostsFile {
    /// Reads a text: lines of an address with names.
    #[must_use]
    pub fn read(text: &[u8]) -> (HostsFile, PassedOver) {
        // Memory can be read.
        HostsFile::read_from(text).unwrap_or_default()
    }

    /// The same for a file, line by line.
    ///
    /// # Errors
    /// Those of the file.
    pub fn read_from(text: impl BufRead) -> std::io::Result<(HostsFile, PassedOver)> {
        let (mut file, mut passed) = (HostsFile::default(), PassedOver::default());
        each_line(text, &mut passed, |passed, number, line| match file.line(line) {
            Ok(mapped) => passed.mapped += usize::from(mapped),
            Err(why) => passed.add(number, || format!("{}: {why}", shown(line.trim_ascii()))),
        })?;
        file.names.shrink();
        file.addresses.shrink_to_fit();
        Ok((file, passed))
    }

    /// Whether a name of the line is in letters that the DNS does not have.
    fn line(&mut self, line: &[u8]) -> Result<bool, String> {
        let mut words = words(line).peekable();
        let Some(first) = words.next() else { return Ok(false) };
        let address = address(first).ok_or_else(|| format!("{} is no address", shown(first)))?;
        if words.peek().is_none() {
            return Err("a name is missing behind the address".to_owned());
        }
        let (mut mapped, mut wrong) = (false, None);
        for word in words {
            mapped |= !word.is_ascii();
            wrong = wrong.or(self.word(address, word).err());
        }
        wrong.map_or(Ok(mapped), Err)
    }

    fn word(&mut self, address: IpAddr, word: &[u8]) -> Result<(), String> {
        let mut octets = None;
        let name = in_any_letters(word, |as_octets| octets = Some(as_octets))
            .map_err(|why| format!("{} is no name: {why}", shown(word)))?;
        for name in std::iter::once(name).chain(octets) {
            self.add(address, &name).ok_or("there is no room for more names")?;
        }
        Ok(())
    }

    fn add(&mut self, address: IpAddr, name: &Name) -> Option<()> {
        let next = u32::try_from(self.addresses.len()).ok().filter(|next| *next != ABOVE)?;
        let place = match self.names.insert(name, next)? {
            ABOVE => {
                self.names.set(name, next);
                next
            }
            place => place,
        };
        if place == next {
            self.addresses.push(Vec::new());
            self.add_above(name)?;
        }
        let addresses = self.addresses.get_mut(place as usize)?;
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
        // Who hides names behind 0.0.0.0 does not say what that is called.
        if !address.is_unspecified() {
            self.pointers.entry(address).or_insert_with(|| name.as_wire().into());
        }
        Some(())
    }

    fn add_above(&mut self, name: &Name) -> Option<()> {
        let mut above = name.parent();
        while let Some(name) = above.filter(|name| !name.is_root()) {
            let before = self.names.len();
            self.names.insert(&name, ABOVE)?;
            // What is above a name that was there is there.
            above = (self.names.len() > before).then(|| name.parent()).flatten();
        }
        Some(())
    }

    /// How many names it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    fn addresses(&self, name: &Name) -> Option<&[IpAddr]> {
        let place = self.names.get(name.as_wire())?;
        self.addresses.get(place as usize).map(Vec::as_slice)
    }

    fn known(&self, name: &Name) -> Known {
        match self.names.get(name.as_wire()) {
            Some(ABOVE) => return Known::Above,
            Some(_) => return Known::Itself,
            None => {}
        }
        match reverse::addresses(name) {
            Some(all) if all.start() == all.end() && self.pointers.contains_key(all.start()) => Known::Itself,
            Some(all) if self.pointers.range(all.clone()).next().is_some() => Known::Above,
            _ => Known::No,
        }
    }
}

impl Hosts {
    /// Adds a file that was read.
    pub fn push(&mut self, file: Arc<HostsFile>) {
        self.files.push(file);
    }

    /// Reads a file and adds it. Returns what was passed over.
    pub fn add(&mut self, text: &[u8]) -> PassedOver {
        let (file, passed) = HostsFile::read(text);
        self.push(Arc::new(file));
        passed
    }

    /// How many names its files have.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.iter().map(|file| file.len()).sum()
    }

    /// Whether none are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The answer for addresses and pointers; other types of the same names are asked for elsewhere, but for the two that name
    /// addresses too (RFC 9460 section 7.3).
    #[must_use]
    pub fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if (rtype == Rtype::PTR || rtype == Rtype::ANY)
            && let Some(address) = reverse::address(name)
        {
            let wire = self.files.iter().find_map(|file| file.pointers.get(&address))?;
            let target = Name::from_wire(wire).ok()?;
            return Some(Said::new(Reason::Hosts, vec![Data::Pointer(target)], FILE_TTL_S));
        }
        let mut found: Option<Vec<IpAddr>> = None;
        for addresses in self.files.iter().filter_map(|file| file.addresses(name)) {
            let all = found.get_or_insert_default();
            let new: Vec<IpAddr> =
                addresses.iter().filter(|address| !all.contains(address)).copied().collect();
            all.extend(new.into_iter().take(ADDRESSES_MAX.saturating_sub(all.len())));
        }
        addresses(&found?, rtype)
    }

    /// Whether the name is in a file, or above one that is.
    pub(crate) fn known(&self, name: &Name) -> Known {
        self.files.iter().map(|file| file.known(name)).max().unwrap_or(Known::No)
    }
}

fn addresses(known: &[IpAddr], rtype: Rtype) -> Option<Said> {
    match rtype {
        Rtype::A | Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB | Rtype::ANY => {
            Some(Said::new(Reason::Hosts, Data::addresses(known, rtype), FILE_TTL_S))
        }
        _ => None,
    }
}

/// The host's own name and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnName {
    /// Its names in lower case: as set, and the first label alone.
    pub names: Vec<Name>,
    /// Its addresses, those that others can reach first.
    pub addresses: Vec<IpAddr>,
}

impl OwnName {
    /// That of a host whose name is set to `text`. None where that is no name that others could ask for: not set, an address, no host name
    /// (RFC 952, with underscores as people write them), or `localhost`, which is everybody's.
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

    pub(crate) fn answer(&self, name: &Name, rtype: Rtype) -> Option<Said> {
        if rtype == Rtype::PTR {
            let address = reverse::address(name)?;
            let own = self.names.first().filter(|_| self.addresses.contains(&address))?;
            return Some(Said::new(Reason::Hosts, vec![Data::Pointer(*own)], FILE_TTL_S));
        }
        self.names.contains(name).then(|| addresses(&self.addresses, rtype)).flatten()
    }

    /// Whether it is the name, or one above it.
    pub(crate) fn known(&self, name: &Name) -> Known {
        if self.names.contains(name) {
            return Known::Itself;
        }
        let is_above = !name.is_root() && self.names.iter().any(|own| own.ends_with(name));
        if is_above { Known::Above } else { Known::No }
    }
}
