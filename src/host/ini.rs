//! Configuration files with sections, as systemd and NetworkManager read them, and their drop-ins.

use crate::host::files;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Entries of one directory; further ones are ignored.
const DROP_INS_MAX: usize = 4096;
/// Octets of the largest file that is read.
const LENGTH_MAX: u64 = 1 << 20;

/// The text of a file; empty if it cannot be read or is larger than [`LENGTH_MAX`].
pub(crate) fn text(path: &Path) -> String {
    let octets = files::read_all(path, LENGTH_MAX).unwrap_or_default();
    String::from_utf8_lossy(&octets).into_owned()
}

/// The `.conf` files of directories below `root` in the order of their names; of two with one name that of
/// the later directory. `problems` get a sentence about each directory with too many entries.
pub(crate) fn drop_ins(root: &Path, dirs: &[&str], problems: &mut Vec<String>) -> Vec<PathBuf> {
    let mut drop_ins = BTreeMap::new();
    for dir in dirs {
        let dir = root.join(dir);
        let Ok(entries) = files::entries(&dir, DROP_INS_MAX) else { continue };
        if entries.is_cut {
            let shown = dir.display();
            problems.push(format!("'{shown}' has more than {DROP_INS_MAX} entries; the others are ignored"));
        }
        for name in entries.names {
            let path = dir.join(&name);
            if path.extension().is_some_and(|end| end == "conf") {
                drop_ins.insert(name, path);
            }
        }
    }
    drop_ins.into_values().collect()
}

/// The settings of one section.
pub(crate) fn settings<'t>(text: &'t str, section: &str) -> Vec<(&'t str, &'t str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            inside = name.strip_suffix(']') == Some(section);
        } else if inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.push((key.trim(), value.trim()));
        }
    }
    found
}
