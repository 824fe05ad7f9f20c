//! Text files of any encoding, with or without byte order marks, with any line ends: lines, words,
//! and the lines that were not understood.

use std::io::{BufRead, Read as _};

/// Characters of a text that a message shows.
const SHOWN_MAX: usize = 48;
/// Octets of a line. Longer lines are passed over, so that a file without line ends is not held in
/// memory.
pub const LINE_MAX: usize = 64 << 10;
/// Octets at the start of a text by which UTF-16 is recognized.
const UTF_16_START_LEN: usize = 4;
/// Problems that are described; further ones are only counted.
const PROBLEMS_MAX: usize = 3;

/// The lines of a text with their numbers, counted from 1. A line ends with LF, CR LF or CR, the last
/// one also at the end of the text. A byte order mark at the start of any line is left out, since files
/// are concatenated with their marks.
pub fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(text);
    let next = move || {
        let octets = rest?;
        let end = octets.iter().position(|octet| matches!(octet, b'\n' | b'\r'));
        let Some(end) = end else {
            rest = None;
            return Some(octets);
        };
        let ends_with_both = octets[end..].starts_with(b"\r\n");
        rest = octets.get(end + 1 + usize::from(ends_with_both)..);
        Some(&octets[..end])
    };
    std::iter::from_fn(next)
        .enumerate()
        .map(|(at, line)| (at + 1, line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)))
}

/// The result of [`read_line`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineRead {
    /// The end of the text, and no line.
    End,
    /// A complete line.
    Complete,
    /// A line of more than [`LINE_MAX`] octets, of which only the line end was kept.
    TooLong,
}

/// Appends the next line to `text`, as [`lines`] delimits them, including its end. At most [`LINE_MAX`]
/// octets and the line end are appended.
///
/// # Errors
/// If the file cannot be read.
pub fn read_line(file: &mut impl BufRead, text: &mut Vec<u8>) -> std::io::Result<LineRead> {
    let before = text.len();
    let mut read = LineRead::End;
    loop {
        let octets = file.fill_buf()?;
        if octets.is_empty() {
            return Ok(read);
        }
        let end = octets.iter().position(|octet| matches!(octet, b'\n' | b'\r'));
        let content = end.unwrap_or(octets.len());
        let is_long = read == LineRead::TooLong || text.len() - before + content > LINE_MAX;
        read = if is_long { LineRead::TooLong } else { LineRead::Complete };
        let taken = end.map_or(octets.len(), |end| end + 1);
        let is_return = end.is_some_and(|end| octets[end] == b'\r');
        if is_long {
            text.truncate(before);
            text.extend_from_slice(&octets[content..taken]);
        } else {
            text.extend_from_slice(&octets[..taken]);
        }
        file.consume(taken);
        if is_return && file.fill_buf()?.first() == Some(&b'\n') {
            text.push(b'\n');
            file.consume(1);
        }
        if end.is_some() {
            return Ok(read);
        }
    }
}

/// Calls `take` for each line of a file, with its number and without its end, as [`lines`] gives them.
/// Lines that are too long are counted in `passed`, to which `take` may add others. Holds one line in
/// memory at a time.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn each_line(
    file: impl BufRead,
    passed: &mut PassedOver,
    mut take: impl FnMut(&mut PassedOver, usize, &[u8]),
) -> std::io::Result<()> {
    let mut file = file;
    let mut start = Vec::with_capacity(UTF_16_START_LEN);
    (&mut file).take(UTF_16_START_LEN as u64).read_to_end(&mut start)?;
    if is_utf16(&start) {
        passed.add(0, || "it is in UTF-16; save it as UTF-8".to_owned());
        return Ok(());
    }
    let mut file = start.chain(file);
    let (mut number, mut text) = (0, Vec::new());
    loop {
        text.clear();
        let read = read_line(&mut file, &mut text)?;
        number += 1;
        match read {
            LineRead::End => return Ok(()),
            LineRead::Complete => take(passed, number, without_end_and_mark(&text)),
            LineRead::TooLong => passed.add(number, || format!("it is longer than {} KiB", LINE_MAX >> 10)),
        }
    }
}

/// A line without its end and without a byte order mark at its start.
fn without_end_and_mark(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// The words of a line up to its comment. `#` begins a comment anywhere, `;` only at the start of a
/// word. NUL octets, which a crash of the host can leave in a file, separate words as blanks do.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = line.iter().position(|octet| *octet == b'#').unwrap_or(line.len());
    let words = line[..end].split(|octet| is_blank(*octet)).filter(|word| !word.is_empty());
    words.take_while(|word| !word.starts_with(b";"))
}

fn is_blank(octet: u8) -> bool {
    octet.is_ascii_whitespace() || octet == 0x0b || octet == 0
}

/// Whether a text is UTF-16, which is not read: it begins with its byte order mark, or with two ASCII
/// characters in UTF-16.
#[must_use]
pub fn is_utf16(text: &[u8]) -> bool {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] => *a != 0 && *b != 0,
        _ => false,
    }
}

/// A line that was not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The number of the line; 0: the problem is with the text, not with one line.
    pub line: usize,
    /// Why it was not understood.
    pub why: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            0 => f.write_str(&self.why),
            line => write!(f, "line {line}: {}", self.why),
        }
    }
}

/// How many lines of a text were passed over, with the reasons for the first of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PassedOver {
    /// Lines that were not understood.
    pub lines: usize,
    /// Comments, headings and settings of other formats.
    pub remarks: usize,
    /// Lines that were understood and have internationalized names, which are stored as A-labels (RFC
    /// 5890).
    pub idn: usize,
    /// The problems of the first few of `lines`.
    pub first: Vec<Problem>,
}

impl PassedOver {
    /// Counts a line that was not understood, and describes it if it is one of the first few.
    pub fn add(&mut self, line: usize, why: impl FnOnce() -> String) {
        self.lines += 1;
        if self.first.len() < PROBLEMS_MAX {
            self.first.push(Problem { line, why: why() });
        }
    }
}

impl std::fmt::Display for PassedOver {
    /// The problems that are described, and how many others there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, problem) in self.first.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "; " })?;
        }
        match self.lines.saturating_sub(self.first.len()) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Octets as they are shown in a message: in quotes, with control characters escaped, cut when long.
#[must_use]
pub fn shown(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut out = String::from("'");
    for c in text.chars().take(SHOWN_MAX) {
        match c {
            '\u{fffd}' => out.push('?'),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    if text.chars().nth(SHOWN_MAX).is_some() {
        out.push('…');
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(text: &[u8]) -> Vec<(usize, Vec<&[u8]>)> {
        lines(text).map(|(number, line)| (number, words(line).collect())).collect()
    }

    #[test]
    fn lines_end_in_any_way_and_keep_their_numbers() {
        let text = b"\xef\xbb\xbfa b\r\n\r\n\tc\x0c#d\re ;f\n\xef\xbb\xbfg\0h;i";
        let want: [(usize, &[&[u8]]); 5] =
            [(1, &[b"a", b"b"]), (2, &[]), (3, &[b"c"]), (4, &[b"e"]), (5, &[b"g", b"h;i"])];
        assert_eq!(all(text), want.map(|(n, words)| (n, words.to_vec())));
        assert_eq!(all(b"a\n"), [(1, vec![&b"a"[..]]), (2, vec![])]);
        assert_eq!(all(b""), [(1, vec![])]);
    }

    #[test]
    fn a_line_takes_no_memory_beyond_its_bound() {
        let mut octets = vec![b'a'; LINE_MAX];
        octets.extend(b"\r\n");
        octets.extend(vec![b'b'; 3 * LINE_MAX + 1]);
        octets.extend(b"\nc");
        let (mut passed, mut seen) = (PassedOver::default(), Vec::new());
        let file = std::io::BufReader::with_capacity(1000, octets.as_slice());
        each_line(file, &mut passed, |_, number, line| seen.push((number, line.len()))).expect("in memory");
        assert_eq!(
            (seen, passed.to_string()),
            (vec![(1, LINE_MAX), (3, 1)], "line 2: it is longer than 64 KiB".to_owned())
        );
        let (mut file, mut text) = (std::io::BufReader::new(octets.as_slice()), Vec::new());
        let read: Vec<LineRead> =
            std::iter::from_fn(|| Some(read_line(&mut file, &mut text).expect("in memory")))
                .take(4)
                .collect();
        assert_eq!(read, [LineRead::Complete, LineRead::TooLong, LineRead::Complete, LineRead::End]);
        assert_eq!(text.len(), LINE_MAX + 2 + 1 + 1, "only the end of the long line");
    }

    #[test]
    fn utf_16_is_recognized() {
        assert!(is_utf16(b"\xff\xfea\0") && is_utf16(b"\xfe\xff\0a") && is_utf16(b"1\x009\0"));
        assert!(
            is_utf16(b"\x001\x009")
                && !is_utf16(b"\0\0\0\0")
                && !is_utf16(b"a\0b")
                && !is_utf16(b"\xef\xbb\xbfa")
        );
    }

    #[test]
    fn the_first_problems_are_described_and_the_others_counted() {
        let mut passed = PassedOver::default();
        (1..=5).for_each(|line| passed.add(line, || format!("{} is odd", shown(b"\xfc\x1b[0m"))));
        assert_eq!((passed.lines, passed.first.len()), (5, 3));
        assert!(passed.to_string().starts_with("line 1: '?\\u{1b}[0m' is odd; line 2: "), "{passed}");
        assert!(passed.to_string().ends_with("; and 2 more"), "{passed}");
        assert_eq!(shown(&[b'x'; 99]).chars().count(), SHOWN_MAX + 3);
    }

    proptest! {
        #[test]
        fn lines_read_one_by_one_are_those_of_the_text(
            octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..40),
            capacity in 1..5usize,
        ) {
            let mut file = std::io::BufReader::with_capacity(capacity, octets.as_slice());
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            while read_line(&mut file, &mut text).expect("in memory") == LineRead::Complete {
                ends.push(text.len());
            }
            prop_assert_eq!(&text, &octets);
            let read = ends.iter().scan(0, |from, end| Some(&text[std::mem::replace(from, *end)..*end]));
            let read: Vec<&[u8]> = read.map(|line| line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\r")).or(line.strip_suffix(b"\n")).unwrap_or(line)).collect();
            let mut all: Vec<&[u8]> = lines(&octets).map(|(_, line)| line).collect();
            // `read_line` gives no empty line after the last line end.
            if all.last().is_some_and(|last| last.is_empty()) {
                all.pop();
            }
            prop_assert_eq!(read, all);
        }

        #[test]
        fn a_file_has_the_lines_of_its_text(
            octets in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), Just(0xef), Just(0xbb), Just(0xbf), Just(0)], 0..40),
            capacity in 1..5usize,
        ) {
            let (mut passed, mut read) = (PassedOver::default(), Vec::new());
            let file = std::io::BufReader::with_capacity(capacity, octets.as_slice());
            each_line(file, &mut passed, |_, number, line| read.push((number, line.to_vec()))).expect("in memory");
            let mut all: Vec<_> = lines(&octets).map(|(number, line)| (number, line.to_vec())).collect();
            if all.last().is_some_and(|(_, last)| last.is_empty()) && !octets.ends_with(b"\xef\xbb\xbf") {
                all.pop();
            }
            if is_utf16(&octets) {
                all.clear();
            }
            prop_assert_eq!(read, all);
            prop_assert_eq!(passed.lines, usize::from(is_utf16(&octets)));
        }

        #[test]
        fn no_octet_is_lost_except_line_ends_and_marks(text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()], 0..60)) {
            let kept: usize = lines(&text).map(|(_, line)| line.len()).sum();
            let ends = text.iter().filter(|octet| matches!(octet, b'\n' | b'\r')).count();
            prop_assert!(kept <= text.len() - ends && kept + ends + 3 * lines(&text).count() >= text.len());
        }
    }
}
