//! The protocol of Valkey and Redis (RESP 2): commands go out as lists of strings, replies come in. Any
//! octets give a reply or an error, and what is kept of a reply is bounded, whatever the engine announces.
//!
//! The crate `redis` reads what the engine announces into memory: a string of a gigabyte, a line without an
//! end. Its streams and its parser cannot be given a bound, and it has no deadline for a reply as a whole.
//! Six commands and five kinds of replies are less than what it would take to contain it.

use std::io::{self, ErrorKind, Read};

/// Octets of a line: a number, a state, an error.
const LINE_MAX: usize = 1024;
/// Octets of a string that is kept: an entry with its key. A longer one is passed over.
pub(super) const OCTETS_MAX: usize = 8 * 1024;
/// Octets of a string that is passed over. One that is still longer ends the connection.
const PASSED_OVER_MAX: usize = 16 << 20;
/// Parts of a list.
const PARTS_MAX: usize = 4096;
/// Lists within lists: the reply to ROLE has two of them.
const DEPTH_MAX: usize = 4;
/// Octets of all strings and words of one reply.
const REPLY_MAX: usize = 1 << 20;
/// Octets that are read at once.
const BUFFER: usize = 16 * 1024;

/// A reply of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// A state, such as `OK`.
    Word(String),
    /// An error, which begins with its kind.
    Error(String),
    Number(i64),
    Octets(Vec<u8>),
    /// A string of more than [`OCTETS_MAX`] octets, which are lost.
    TooLarge,
    List(Vec<Reply>),
    Nothing,
}

/// Replies from a stream.
#[derive(Debug)]
pub(super) struct Replies<S> {
    stream: S,
    buffer: Box<[u8]>,
    /// The octets of the buffer that have not been read yet.
    from: usize,
    to: usize,
}

/// The bounds of one reply, as far as they are not used up.
struct Left {
    octets: usize,
    parts: usize,
}

impl Left {
    fn take(&mut self, octets: usize) -> io::Result<()> {
        self.octets = self.octets.checked_sub(octets).ok_or_else(|| malformed("too many octets"))?;
        Ok(())
    }
}

impl<S: Read> Replies<S> {
    pub fn new(stream: S) -> Replies<S> {
        Replies { stream, buffer: vec![0; BUFFER].into(), from: 0, to: 0 }
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// Those of the stream, and `InvalidData` for what is no reply, or too large.
    pub fn next(&mut self) -> io::Result<Reply> {
        let mut left = Left { octets: REPLY_MAX, parts: PARTS_MAX };
        self.reply(DEPTH_MAX, &mut left)
    }

    fn reply(&mut self, depth: usize, left: &mut Left) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, text) = line.split_first().ok_or_else(|| malformed("an empty line"))?;
        match kind {
            b'+' => Ok(Reply::Word(word(text, left)?)),
            b'-' => Ok(Reply::Error(word(text, left)?)),
            b':' => Ok(Reply::Number(number(text)?)),
            b'$' => match usize::try_from(number(text)?) {
                Ok(length) => self.octets(length, left),
                Err(_) => Ok(Reply::Nothing),
            },
            b'*' => {
                let Ok(count) = usize::try_from(number(text)?) else { return Ok(Reply::Nothing) };
                left.parts = left.parts.checked_sub(count).ok_or_else(|| malformed("too many parts"))?;
                let depth = depth.checked_sub(1).ok_or_else(|| malformed("lists in lists in lists"))?;
                // The parts come one by one: nothing is reserved for those that are only announced.
                let mut parts = Vec::new();
                for _ in 0..count {
                    parts.push(self.reply(depth, left)?);
                }
                Ok(Reply::List(parts))
            }
            _ => Err(malformed("an unknown kind of reply")),
        }
    }

    /// A string of this length, and the end of its line.
    fn octets(&mut self, length: usize, left: &mut Left) -> io::Result<Reply> {
        if length > PASSED_OVER_MAX {
            return Err(malformed("a string of many megabytes"));
        }
        let is_kept = length <= OCTETS_MAX;
        let mut octets = Vec::new();
        if is_kept {
            left.take(length)?;
            octets.reserve_exact(length);
        }
        let mut missing = length;
        while missing > 0 {
            let part = self.some(missing)?;
            missing -= part.len();
            if is_kept {
                octets.extend_from_slice(part);
            }
        }
        if self.line()? != b"" {
            return Err(malformed("a string that is longer than announced"));
        }
        Ok(if is_kept { Reply::Octets(octets) } else { Reply::TooLarge })
    }

    /// At least one octet and at most `most`.
    fn some(&mut self, most: usize) -> io::Result<&[u8]> {
        if self.from == self.to {
            self.fill()?;
        }
        let end = self.to.min(self.from.saturating_add(most));
        let start = std::mem::replace(&mut self.from, end);
        Ok(self.buffer.get(start..end).unwrap_or_default())
    }

    /// The octets up to the end of the line.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            if line.len() > LINE_MAX {
                return Err(malformed("a line without an end"));
            }
            line.extend_from_slice(self.some(1)?);
        }
        line.truncate(line.len() - 2);
        Ok(line)
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    (self.from, self.to) = (0, count);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Appends a command.
pub(super) fn command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// A state or an error as text, whose octets count like those of a string.
fn word(text: &[u8], left: &mut Left) -> io::Result<String> {
    let word = String::from_utf8_lossy(text);
    left.take(word.len())?;
    Ok(word.into_owned())
}

fn number(text: &[u8]) -> io::Result<i64> {
    let text = std::str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| malformed("no number where one is expected"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("{what}, which Valkey does not send"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(octets: &[u8]) -> io::Result<Reply> {
        Replies::new(octets).next()
    }

    #[test]
    fn replies_are_read_as_they_are_written() {
        let octets =
            b"+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*3\r\n$6\r\nmaster\r\n:9\r\n*1\r\n*0\r\n*-1\r\n";
        let mut replies = Replies::new(&octets[..]);
        let nested =
            vec![Reply::Octets(b"master".to_vec()), Reply::Number(9), Reply::List(vec![Reply::List(vec![])])];
        for expected in [
            Reply::Word("OK".into()),
            Reply::Error("ERR no".into()),
            Reply::Number(-7),
            Reply::Octets(b"a\r\n".to_vec()),
            Reply::Nothing,
            Reply::List(nested),
            Reply::Nothing,
        ] {
            assert_eq!(replies.next().expect("a reply"), expected);
        }
        assert_eq!(replies.next().expect_err("the end").kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_string_that_is_too_long_is_passed_over_and_the_next_reply_is_read() {
        let mut octets = format!("${}\r\n", OCTETS_MAX + 1).into_bytes();
        octets.extend(vec![b'x'; OCTETS_MAX + 1]);
        octets.extend(b"\r\n:1\r\n");
        let mut replies = Replies::new(&octets[..]);
        assert_eq!(replies.next().expect("a reply"), Reply::TooLarge);
        assert_eq!(replies.next().expect("a reply"), Reply::Number(1));
    }

    /// Octets without an end, of which a reader takes only a bounded part.
    struct Endless {
        begin: &'static [u8],
        then: u8,
        taken: usize,
    }

    impl Read for Endless {
        fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
            for octet in octets.iter_mut() {
                *octet = self.begin.get(self.taken).copied().unwrap_or(self.then);
                self.taken += 1;
            }
            Ok(octets.len())
        }
    }

    #[test]
    fn what_an_engine_announces_without_a_bound_is_refused() {
        for (begin, then) in [
            (&b"$1073741824\r\n"[..], b'x'),
            (b"*1000000000\r\n:1\r\n", b':'),
            (b"+", b'x'),
            (b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", b'*'),
            (b"$99999999999999999999999\r\n", b'x'),
            (b"$3\r\nabcd", b'x'),
            (b"%1\r\n", b'x'),
            (b"\r\n", b'x'),
        ] {
            let mut replies = Replies::new(Endless { begin, then, taken: 0 });
            let error = replies.next().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            assert!(replies.stream().taken <= 4 * BUFFER, "{} octets were read", replies.stream().taken);
        }
    }

    #[test]
    fn many_small_parts_have_a_bound_too() {
        let part =
            [format!("${OCTETS_MAX}\r\n").into_bytes(), vec![b'x'; OCTETS_MAX], b"\r\n".to_vec()].concat();
        let octets = [b"*4000\r\n".to_vec(), part.repeat(REPLY_MAX / OCTETS_MAX + 1)].concat();
        assert_eq!(read(&octets).expect_err("refused").kind(), ErrorKind::InvalidData);
        let words =
            [b"*4000\r\n".to_vec(), [&[b'-'][..], &[0xff; 1000], b"\r\n"].concat().repeat(4000)].concat();
        assert_eq!(read(&words).expect_err("refused").kind(), ErrorKind::InvalidData);
        let nested = b"*3000\r\n".iter().chain(b"*3000\r\n").copied().collect::<Vec<_>>();
        assert_eq!(read(&nested).expect_err("refused").kind(), ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn any_octets_give_a_reply_or_an_error(octets: Vec<u8>) {
            let mut replies = Replies::new(&octets[..]);
            while replies.next().is_ok() {}
        }

        #[test]
        fn a_command_is_read_back_as_the_list_of_its_parts(parts: Vec<Vec<u8>>) {
            let mut octets = Vec::new();
            command(&mut octets, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let expected = Reply::List(parts.into_iter().map(Reply::Octets).collect());
            prop_assert_eq!(read(&octets).expect("a reply"), expected);
        }
    }
}
