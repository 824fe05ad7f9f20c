//! Where an answer comes from, for the operator's `query`: the cache, an upstream, a standard, or which line of which file.
//!
//! What is in memory of hosts files and lists does not say where it was read: a million names would be dearer by that. So the files are
//! looked through again when somebody asks, in a thread of its own, by the same readers that read them before.

use crate::config::{Block as BlockConfig, Config};
use crate::daemon::clients::handover::hand_in;
use crate::daemon::reload::local::Loader;
use crate::host::files;
use hither_local::text::{LineRead, read_line};
use hither_local::{Block, Hosts, List, Local, LocalAnswer, Reason, Verdict};
use hither_rounds::reply::ede;
use hither_rounds::{Answer, Question, Trace};
use hither_table::Monotonic;
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use mio::Waker;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

/// Octets of a file that are looked through, as of one that is read.
const FILE_MAX: u64 = 256 << 20;
/// Where the file does not say it any more.
const CHANGED: &str = "a list that reads otherwise by now";
/// Lines, and octets before another, that are read at once.
const LINES: usize = 4096;
const OCTETS: usize = 1 << 20;
/// Searches at once; whoever asks beyond that is told no line. Anybody may ask, and a search may go through a file of 256 MiB: a core is left for
/// answers.
const SEARCHES_MAX: usize = 1;

/// Those that are on, also when nobody waits for them any more.
static SEARCHES: AtomicUsize = AtomicUsize::new(0);

/// Whose word an answer is, and what there is to say of that: a word of `hitherctl query --json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Whence {
    pub source: &'static str,
    pub detail: Option<String>,
}

impl Whence {
    pub fn new(source: &'static str, detail: Option<String>) -> Whence {
        Whence { source, detail }
    }
}

/// The source of an answer that the core gave; `trace` is that of the latest round for the question, which was asked at `began`.
pub(crate) fn whence(answer: &Answer, name: &Name, trace: Option<&Trace>, began: Monotonic) -> Whence {
    match answer {
        Answer::Record { stale_ttl_s: Some(_), .. } | Answer::Stored { stale_ttl_s: Some(_), .. } => {
            Whence::new("stale", None)
        }
        Answer::Record { .. } | Answer::Stored { .. } => match trace {
            Some(trace) if is_of(trace, began) => Whence::new("upstream", upstream(trace)),
            Some(_) | None => Whence::new("cache", None),
        },
        Answer::Local(said) => match said.reason {
            Reason::Special => Whence::new("special", Some(hither_local::standard(name).to_owned())),
            Reason::Hosts => Whence::new("hosts", None),
            Reason::Blocked => Whence::new("block", None),
        },
        Answer::Failure { ede: Some(ede::CACHED_ERROR), .. } => {
            Whence::new("failure", Some("it is remembered for some seconds".to_owned()))
        }
        Answer::Failure { ede: Some(ede::NOT_READY), .. } => {
            Whence::new("failure", Some("there is no upstream for it".to_owned()))
        }
        Answer::Failure { .. } => Whence::new("upstream", None),
    }
}

/// Whether somebody was asked since then.
fn is_of(trace: &Trace, began: Monotonic) -> bool {
    !trace.ended || trace.attempts.iter().any(|attempt| attempt.ended.is_some_and(|at| at >= began))
}

/// Who gave the answer: the last to be heard of those who had one.
fn upstream(trace: &Trace) -> Option<String> {
    let has_one = |outcome: &str| matches!(outcome, "answer" | "nodata" | "nxdomain");
    let heard = trace.attempts.iter().filter(|attempt| has_one(&attempt.outcome));
    heard.max_by_key(|attempt| attempt.ended).map(|attempt| attempt.upstream.to_string())
}

/// What is looked for in files.
#[derive(Debug)]
pub(crate) struct Search {
    name: Name,
    rtype: Rtype,
    /// A line with the name is looked for, whatever it has of the type.
    is_nodata: bool,
    /// The hosts file that says it, as it was read last.
    hosts: Option<PathBuf>,
    /// The block that blocks it, and its place among all of them.
    block: Option<(usize, BlockConfig)>,
    said: Reason,
}

impl Search {
    /// What there is to look for, if the answer came from a file; `place` is that of the block that blocks the name.
    pub fn of(
        said: &LocalAnswer,
        question: &Question,
        place: Option<usize>,
        (config, loader): (&Config, &Loader),
    ) -> Option<Search> {
        let block = |at: usize| Some((at, config.blocks.get(at)?.clone()));
        let is_nodata = said.data.is_empty();
        let says = |hosts: &Hosts| says(hosts, &question.name, question.rtype, is_nodata);
        (said.reason != Reason::Special).then(|| Search {
            name: question.name,
            rtype: question.rtype,
            is_nodata,
            hosts: loader.hosts_file(&config.hosts, says),
            block: place.and_then(block),
            said: said.reason,
        })
    }

    /// Looks, and wakes the loop when it has looked.
    pub fn begin(self, waker: Arc<Waker>) -> Option<mpsc::Receiver<String>> {
        let (tell, told) = mpsc::channel();
        if SEARCHES.load(Ordering::Relaxed) >= SEARCHES_MAX {
            return None;
        }
        let one = Running::begin();
        let thread = std::thread::Builder::new().name("whence".to_owned()).spawn(move || {
            let _one = one;
            hand_in(&tell, &waker, self.look());
        });
        thread.is_ok().then_some(told)
    }

    fn look(&self) -> String {
        match self.said {
            Reason::Hosts => self.hosts(),
            Reason::Blocked | Reason::Special => self.blocks(),
        }
    }

    fn hosts(&self) -> String {
        let Some(path) = &self.hosts else { return "this host's own name".to_owned() };
        let says = |lines: &[u8]| {
            let mut hosts = Hosts::default();
            let _ = hosts.add(lines);
            says(&hosts, &self.name, self.rtype, self.is_nodata)
        };
        place(path, says).unwrap_or_else(|| format!("{}, as it was read before", path.display()))
    }

    fn blocks(&self) -> String {
        let Some((place, block)) = &self.block else { return CHANGED.to_owned() };
        let blocks = |list: List| {
            let mut one = Block::new(Verdict::NxDomain);
            one.push(Arc::new(list));
            Local { blocks: vec![one], ..Local::default() }.covers(&self.name)
        };
        if blocks(List::of(&block.names)) {
            return format!("names of [[block]] {} in the configuration", place + 1);
        }
        let says = |lines: &[u8]| blocks(List::read(lines, block.covers).0);
        block.files.iter().find_map(|path| self::place(path, says)).unwrap_or_else(|| CHANGED.to_owned())
    }
}

/// Whether hosts files have the name: with the type, unless that is what nobody has.
fn says(hosts: &Hosts, name: &Name, rtype: Rtype, is_nodata: bool) -> bool {
    hosts.answer(name, rtype).is_some_and(|said| is_nodata || !said.data.is_empty())
}

/// A search that is on.
struct Running;

impl Running {
    fn begin() -> Running {
        SEARCHES.fetch_add(1, Ordering::Relaxed);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        SEARCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The first line of a file that says so, as `FILE:LINE`: many lines at once, then half of them, and so on.
fn place(path: &Path, says: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut file = BufReader::new(files::open_regular(path).ok()?.take(FILE_MAX));
    let (mut before, mut text, mut ends) = (0, Vec::new(), Vec::new());
    loop {
        text.clear();
        ends.clear();
        while ends.len() < LINES
            && text.len() < OCTETS
            && read_line(&mut file, &mut text).ok()? != LineRead::End
        {
            ends.push(text.len());
        }
        if ends.is_empty() {
            return None;
        }
        if says(&text) {
            let (mut low, mut high) = (0, ends.len());
            while high - low > 1 {
                let middle = low.midpoint(high);
                let from = low.checked_sub(1).map_or(0, |at| ends[at]);
                if says(&text[from..ends[middle - 1]]) { high = middle } else { low = middle }
            }
            return Some(format!("{}:{}", path.display(), before + low + 1));
        }
        before += ends.len();
    }
}
