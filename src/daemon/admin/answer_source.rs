//! The source of an answer, for `hitherctl query`: the cache, an upstream, another host, a standard, or a
//! line of a file.
//!
//! To save memory, names from hosts files and lists are stored without the line that they were read
//! from. For each query of an operator, a thread searches the files again with the parsers that
//! loaded them.

use crate::config::Block as BlockConfig;
use crate::daemon::thread_results::send_result;
use crate::daemon::upstreams::Labels;
use crate::host::files;
use hither_control::{FAMILY_WITHHELD, SourceKind};
use hither_local::text::{LineRead, read_line};
use hither_local::{Block, Hosts, List, Local, LocalAnswer, Reason, Verdict};
use hither_rounds::reply::ede;
use hither_rounds::{Answer, Question, Rounds, SiteOrigin, Trace};
use hither_table::{Monotonic, Withheld};
use hither_wire::codes::Rtype;
use hither_wire::name::Name;
use mio::Waker;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

/// Octets of a file that are searched: the same bound as for loading a list.
const FILE_MAX: u64 = 256 << 20;
/// The detail if the file no longer has the name.
const CHANGED: &str = "the name was in a file that has changed since";
/// Lines, and octets, of a file that are parsed at once.
const PARSED_LINES_MAX: usize = 4096;
const PARSED_OCTETS_MAX: usize = 1 << 20;
/// Searches that run at the same time. A query beyond that gets no line. Any user may start a
/// search, and a search may read a file of 256 MiB; the bound leaves a processor for clients.
const SEARCHES_MAX: usize = 1;

/// Searches in progress, including those whose connection is closed.
static SEARCHES: AtomicUsize = AtomicUsize::new(0);

/// The source of an answer. The kind is a word of `hitherctl query --json`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AnswerSource {
    pub kind: SourceKind,
    pub detail: Option<String>,
}

impl AnswerSource {
    /// A source of this kind, with an optional detail.
    pub fn new(kind: SourceKind, detail: Option<String>) -> AnswerSource {
        AnswerSource { kind, detail }
    }
}

/// The source of an answer of the core to a question, which was asked at `began`.
pub(crate) fn source_of(
    answer: &Answer,
    question: &Question,
    rounds: &Rounds,
    began: Monotonic,
    labels: &Labels,
) -> AnswerSource {
    let name = &question.name;
    if let Some(origin) = rounds.site_origin_of(name, answer) {
        return from_site(&origin);
    }
    match answer {
        Answer::Record { stale_ttl_s: Some(_), .. } | Answer::Stored { stale_ttl_s: Some(_), .. } => {
            AnswerSource::new(SourceKind::Stale, None)
        }
        Answer::Record { .. } | Answer::Stored { .. } => match rounds.trace(question) {
            Some(trace) if has_ended_since(trace, began) => {
                AnswerSource::new(SourceKind::Upstream, upstream(trace, labels))
            }
            Some(_) | None => AnswerSource::new(SourceKind::Cache, None),
        },
        Answer::Local(said) => match said.reason {
            Reason::Special => {
                AnswerSource::new(SourceKind::Special, Some(hither_local::standard(name).to_owned()))
            }
            Reason::Hosts => AnswerSource::new(SourceKind::Hosts, None),
            Reason::Blocked => AnswerSource::new(SourceKind::Block, None),
        },
        Answer::Filtered { why } => AnswerSource::new(SourceKind::Cache, Some(withheld(*why))),
        Answer::Empty { ede: Some(ede::CACHED_ERROR), .. } => {
            AnswerSource::new(SourceKind::Failure, Some("it is cached for some seconds".to_owned()))
        }
        Answer::Empty { ede: Some(ede::NOT_READY), .. } => {
            AnswerSource::new(SourceKind::Failure, Some("no upstream is configured for it".to_owned()))
        }
        Answer::Empty { .. } => AnswerSource::new(SourceKind::Upstream, None),
    }
}

/// The source of an answer that the site gave: the hosts that may have learned it, and the upstreams that
/// said so.
pub(crate) fn from_site(origin: &SiteOrigin) -> AnswerSource {
    let hosts = origin.hosts.join(" or ");
    let hosts = if hosts.is_empty() { "a host that is no longer known" } else { &hosts };
    let said_by = origin.said_by.join(", ");
    let by = if said_by.is_empty() { String::new() } else { format!(", by {said_by}") };
    AnswerSource::new(SourceKind::Site, Some(format!("{hosts}{by}")))
}

/// The detail of an answer without the addresses of a family that is withheld.
pub(crate) fn withheld(why: Withheld) -> String {
    format!("{FAMILY_WITHHELD}: {}", why.as_str())
}

/// Whether an attempt of the round is outstanding or has ended since `began`.
fn has_ended_since(trace: &Trace, began: Monotonic) -> bool {
    trace.ended.is_none() || trace.attempts.iter().any(|attempt| attempt.ended.is_some_and(|at| at >= began))
}

/// The upstream whose response gave the answer: the last one of the round.
fn upstream(trace: &Trace, labels: &Labels) -> Option<String> {
    let has_one = |outcome: &str| matches!(outcome, "answer" | "nodata" | "nxdomain");
    let answered = trace.attempts.iter().filter(|attempt| has_one(&attempt.outcome));
    answered.max_by_key(|attempt| attempt.ended).map(|attempt| labels.of(&attempt.upstream))
}

/// A search for the line of a file that an answer comes from.
#[derive(Debug)]
pub(crate) struct Search {
    name: Name,
    rtype: Rtype,
    /// The answer is NODATA, so a line with the name is enough, whatever its address family.
    is_nodata: bool,
    /// The hosts file that had the answer when it was read last.
    hosts: Option<PathBuf>,
    /// The block that blocks the name, and its position in the configuration.
    block: Option<(usize, BlockConfig)>,
    reason: Reason,
}

impl Search {
    /// The search for an answer, if the answer came from a file. `hosts` is the hosts file that has
    /// the answer, `block` the block of the configuration that blocks the name, with its position.
    pub fn of(
        answer: &LocalAnswer,
        question: &Question,
        hosts: Option<PathBuf>,
        block: Option<(usize, BlockConfig)>,
    ) -> Option<Search> {
        (answer.reason != Reason::Special).then_some(Search {
            name: question.name,
            rtype: question.rtype,
            is_nodata: answer.data.is_empty(),
            hosts,
            block,
            reason: answer.reason,
        })
    }

    /// Searches in a thread. The result is sent to the receiver, and wakes the event loop. `None`:
    /// too many searches run, or the thread cannot be started.
    pub fn begin(self, waker: Arc<Waker>) -> Option<mpsc::Receiver<String>> {
        let (sender, receiver) = mpsc::channel();
        if SEARCHES.load(Ordering::Relaxed) >= SEARCHES_MAX {
            return None;
        }
        let running = Running::begin();
        let thread = std::thread::Builder::new().name("search".to_owned()).spawn(move || {
            let line = self.run();
            // The search counts as ended before its reply is sent, so that the operator's next
            // query finds it so.
            drop(running);
            send_result(&sender, &waker, line);
        });
        thread.is_ok().then_some(receiver)
    }

    fn run(&self) -> String {
        match self.reason {
            Reason::Hosts => self.line_of_hosts(),
            Reason::Blocked | Reason::Special => self.line_of_block(),
        }
    }

    fn line_of_hosts(&self) -> String {
        let Some(path) = &self.hosts else { return "this host's own name".to_owned() };
        let has_it = |lines: &[u8]| {
            let mut hosts = Hosts::default();
            let _ = hosts.add(lines);
            has_record(&hosts, &self.name, self.rtype, self.is_nodata)
        };
        first_line(path, has_it).unwrap_or_else(|| format!("{} (its previous contents)", path.display()))
    }

    fn line_of_block(&self) -> String {
        let Some((position, block)) = &self.block else { return CHANGED.to_owned() };
        let is_blocked_by = |list: List| {
            let mut one = Block::new(Verdict::NxDomain);
            one.push(Arc::new(list));
            Local { blocks: vec![one], ..Local::default() }.covers(&self.name)
        };
        if is_blocked_by(List::of(&block.names)) {
            return format!("names of [[block]] {} in the configuration", position + 1);
        }
        let blocks_it = |lines: &[u8]| is_blocked_by(List::read(lines, block.covers).0);
        block.files.iter().find_map(|path| first_line(path, blocks_it)).unwrap_or_else(|| CHANGED.to_owned())
    }
}

/// Whether hosts files have the name, and, unless the answer is NODATA, an address of the type.
pub(crate) fn has_record(hosts: &Hosts, name: &Name, rtype: Rtype, is_nodata: bool) -> bool {
    hosts.answer(name, rtype).is_some_and(|said| is_nodata || !said.data.is_empty())
}

/// Counts a search for as long as it runs.
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

/// The first line of a file for which `has_it` holds, as `FILE:LINE`. Many lines are tried at once,
/// then half of them, and so on.
fn first_line(path: &Path, has_it: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut file = BufReader::new(files::open_regular(path).ok()?.take(FILE_MAX));
    let (mut before, mut text, mut ends) = (0, Vec::new(), Vec::new());
    loop {
        text.clear();
        ends.clear();
        while ends.len() < PARSED_LINES_MAX
            && text.len() < PARSED_OCTETS_MAX
            && read_line(&mut file, &mut text).ok()? != LineRead::End
        {
            ends.push(text.len());
        }
        if ends.is_empty() {
            return None;
        }
        if has_it(&text) {
            let (mut low, mut high) = (0, ends.len());
            while high - low > 1 {
                let middle = low.midpoint(high);
                let from = low.checked_sub(1).map_or(0, |at| ends[at]);
                if has_it(&text[from..ends[middle - 1]]) { high = middle } else { low = middle }
            }
            return Some(format!("{}:{}", path.display(), before + low + 1));
        }
        before += ends.len();
    }
}
