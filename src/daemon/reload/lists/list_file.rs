//! One hosts file or list. It is parsed as a stream, never held in memory as text, and its errors
//! are logged.

use crate::logging::Event;
use hither_control::{FileStatus, counted};
use hither_local::text::{LINE_MAX, PassedOver};
use hither_net::clock;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Octets read of one file, up to the end of the line that they end in. The rest of a longer file
/// is not read, which is logged.
const FILE_MAX: u64 = 256 << 20;
/// Octets read by one call, more than a line may have.
const BUFFER_OCTETS: usize = 128 << 10;
/// Milliseconds after which a file's times show every change. Some file systems store them in steps
/// of two seconds.
const DATE_STEP_MAX_MS: u64 = 2_500;

/// The data of the last read of a file.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub value: Arc<T>,
    status: FileStatus,
    /// Shows whether the file has changed since. None if it must be read again.
    stamp: Option<Stamp>,
}

impl<T> Clone for Known<T> {
    fn clone(&self) -> Self {
        Known { value: Arc::clone(&self.value), status: self.status.clone(), stamp: self.stamp }
    }
}

/// The file's identity and its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(found: &Metadata) -> Stamp {
        Stamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }

    /// Whether every change after `wall_ms` shows in the times.
    fn is_old(&self, wall_ms: u64) -> bool {
        let ms = |(s, ns): (i64, i64)| u64::try_from(s * 1000 + ns / 1_000_000).unwrap_or(u64::MAX);
        ms(self.changed).saturating_add(DATE_STEP_MAX_MS) < wall_ms
    }
}

/// One file and its expected contents.
pub(super) struct ListFile<'a> {
    pub path: &'a Path,
    pub expected: &'a str,
    /// Whether a text without names and without invalid lines is valid.
    pub may_be_empty: fn(&Seen) -> bool,
    /// The last status of the file, which has been logged.
    pub logged: Option<&'a FileStatus>,
    /// Whether it is read even if it has not changed.
    pub rereads: bool,
}

/// The kinds of octets that a text has.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Seen {
    /// A NUL: a host that crashed while it wrote the file leaves them.
    pub nul: bool,
    /// Anything but white space and NULs.
    pub words: bool,
}

/// A file while it is read.
pub(super) struct Text {
    file: File,
    octets: u64,
    is_cut: bool,
    seen: Seen,
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_cut {
            return Ok(0);
        }
        let mut length = self.file.read(buffer)?;
        self.octets += length as u64;
        if self.octets > FILE_MAX {
            // The text is cut at the end of a line, since half a name is another name.
            match buffer[..length].iter().rposition(|octet| matches!(octet, b'\n' | b'\r')) {
                Some(end) => (self.is_cut, length) = (true, end + 1),
                // If a line is longer, enough is read for the parser to skip it as too long.
                None => self.is_cut = self.octets > FILE_MAX + LINE_MAX as u64,
            }
        }
        let new = &buffer[..length];
        self.seen.nul |= new.contains(&0);
        self.seen.words |= new.iter().any(|octet| !octet.is_ascii_whitespace() && *octet != 0);
        Ok(length)
    }
}

impl ListFile<'_> {
    /// The data of the file, or its data `before`, with its new status. `parse` gets the data
    /// before, too.
    pub fn read<T>(
        &self,
        before: Option<&Known<T>>,
        parse: impl FnOnce(&mut BufReader<Text>, Option<&T>) -> io::Result<(T, PassedOver)>,
        len: impl Fn(&T) -> usize,
    ) -> (Option<Known<T>>, FileStatus) {
        if let Some(known) = before.filter(|known| !self.rereads && self.is_unchanged(known)) {
            return (Some(known.clone()), known.status.clone());
        }
        let names_before = before.map_or(0, |before| len(&before.value));
        let stays = |problem: String| {
            let then = match before {
                Some(_) => format!(
                    "its previous data stays in force, {}",
                    counted(names_before as u64, "name", "names")
                ),
                None => "going on without it".to_owned(),
            };
            let status = self.status(names_before, 0, Some(format!("{problem}; {then}")));
            if self.is_news(&status) {
                log::warn!(
                    event = Event::FileNotRead, path:% = self.path.display(), reason:% = problem;
                    "'{}' {problem}; {then}",
                    self.path.display()
                );
            }
            (before.cloned(), status)
        };
        let now_ms = clock::wall_ms();
        let read = crate::host::files::open_regular(self.path).and_then(|file| {
            let stamp = Stamp::of(&file.metadata()?);
            let text = Text { file, octets: 0, is_cut: false, seen: Seen::default() };
            let mut text = BufReader::with_capacity(BUFFER_OCTETS, text);
            let (new, passed) = parse(&mut text, before.map(|before| &*before.value))?;
            let text = text.into_inner();
            let is_same = stamp == Stamp::of(&text.file.metadata()?);
            Ok((new, passed, text, Some(stamp).filter(|stamp| is_same && stamp.is_old(now_ms))))
        });
        let (new, passed, text, stamp) = match read {
            Ok(read) => read,
            Err(error) => return stays(format!("cannot be read: {error}")),
        };
        let names = len(&new);
        let is_lost = names == 0 && (passed.lines > 0 || !(self.may_be_empty)(&text.seen));
        if is_lost && names_before > 0 {
            let problem = match passed.lines {
                0 => "is empty".to_owned(),
                _ => format!("has no valid line: {passed}"),
            };
            return stays(format!("{problem}; a comment alone would mean that it has no names"));
        }
        let mut problem = (passed.lines > 0).then(|| passed.to_string());
        if text.is_cut {
            let cut = format!("it is longer than {} MiB, and the rest is not read", FILE_MAX >> 20);
            problem = Some(problem.map_or(cut.clone(), |problem| format!("{cut}; {problem}")));
        }
        let status = self.status(names, passed.lines, problem);
        if self.is_news(&status) {
            if text.is_cut {
                log::warn!(
                    event = Event::FileNotRead, path:% = self.path.display(), reason = "it is too long";
                    "'{}' is longer than {} MiB; the rest is not read",
                    self.path.display(),
                    FILE_MAX >> 20
                );
            }
            log_skipped(self.path, &passed, self.expected);
        }
        (Some(Known { value: Arc::new(new), status: status.clone(), stamp }), status)
    }

    /// Whether the file has not changed since it was read.
    fn is_unchanged<T>(&self, known: &Known<T>) -> bool {
        known
            .stamp
            .is_some_and(|stamp| std::fs::metadata(self.path).is_ok_and(|found| stamp == Stamp::of(&found)))
    }

    /// Whether a status has not been logged yet: all files are checked again whenever one of them,
    /// or the network, has changed.
    pub fn is_news(&self, status: &FileStatus) -> bool {
        self.logged != Some(status)
    }

    pub fn status(&self, names: usize, passed_over: usize, problem: Option<String>) -> FileStatus {
        FileStatus {
            path: self.path.display().to_string(),
            names: names as u64,
            passed_over: passed_over as u64,
            problem,
        }
    }
}

/// Logs what was skipped of a file, in one entry. The count stands before `lines`, even if it is 1,
/// so that tools find it.
pub(super) fn log_skipped(path: &Path, passed: &PassedOver, expected: &str) {
    let (all, shown) = (format!("{} lines", passed.lines + passed.remarks), path.display());
    if passed.lines == 0 {
        if passed.remarks > 0 {
            log::info!("'{shown}': {all} passed over: comments and headings of other formats");
        }
        if passed.idn > 0 {
            log::info!(
                "'{shown}': {} lines with names in other letters, which are taken as A-labels; none of them is passed over",
                passed.idn
            );
        }
        return;
    }
    let remarks = match passed.remarks {
        0 => String::new(),
        remarks => format!(", {remarks} of them comments and headings of other formats"),
    };
    log::warn!(
        event = Event::FileNotRead, path:% = path.display(), reason:% = format_args!("{} wrong", counted(passed.lines as u64, "line is", "lines are"));
        "'{shown}': {all} passed over{remarks}; expected {expected} on each: {passed}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_old_when_a_later_change_would_show_in_it() {
        let changed_ms = 1_700_000_000_123;
        let stamp =
            Stamp { device: 1, inode: 2, size: 3, modified: (0, 0), changed: (1_700_000_000, 123_999_999) };
        let is_old =
            [-1, 0, 1].map(|ms| stamp.is_old((changed_ms + DATE_STEP_MAX_MS).saturating_add_signed(ms)));
        assert_eq!(is_old, [false, false, true]);
        // A clock that was set back, or a time before 1970: nothing is known.
        assert!(!stamp.is_old(0) && !Stamp { changed: (-1, 0), ..stamp }.is_old(u64::MAX));
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again() {
        let path = std::env::temp_dir().join(format!("hither-stamp-{}", std::process::id()));
        std::fs::write(&path, "x").expect("written");
        let source = ListFile {
            path: &path,
            expected: "a name",
            may_be_empty: |_| true,
            logged: None,
            rereads: false,
        };
        let read = || source.read(None, |_, _| Ok(((), PassedOver::default())), |()| 1).0.expect("read");
        assert_eq!(read().stamp, None);
        std::fs::remove_file(path).expect("removable");
    }
}
