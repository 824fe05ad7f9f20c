//! The language of scenarios: reads lines of text as a script.

use super::records::{Record, records};
use hither_rounds::{Deny, Settings, Transport};
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::name::Name;
use std::net::IpAddr;
use std::time::Duration;

/// A scenario: settings, upstreams, and steps in the order of time.
pub struct Script {
    pub settings: Settings,
    pub upstreams: usize,
    /// Upstreams with an encrypted transport.
    pub encrypted: Vec<(usize, Transport)>,
    /// Names that only one upstream is queried for, which gets no other queries.
    pub names: Vec<(Name, usize)>,
    pub responses: Vec<Upstream>,
    pub steps: Vec<Step>,
}

/// How an upstream responds to a question.
pub struct Upstream {
    pub upstream: usize,
    pub tcp: bool,
    pub name: Name,
    pub rtype: Rtype,
    /// The first query that gets this response, counted from 1.
    pub from: usize,
    pub acts: Vec<(Duration, Act)>,
}

/// One response of an upstream, or a failure.
#[derive(Clone, Debug)]
pub enum Act {
    Answer {
        rcode: Rcode,
        truncated: bool,
        records: Vec<Record>,
    },
    WrongId,
    WrongQuestion,
    WrongCase(Vec<Record>),
    /// These records to a query with CD, SERVFAIL to other queries.
    Unchecked(Vec<Record>),
    /// These records to a query in lower case, NXDOMAIN to mixed letter case.
    InLower(Vec<Record>),
    /// A message whose last record is cut; `with_edns`: only to queries with EDNS.
    Broken {
        truncated: bool,
        with_edns: bool,
        records: Vec<Record>,
    },
    /// A response without a question section.
    Unasked(Rcode, Vec<Record>),
    Garbage,
    Refused,
    Unreachable,
    NoSocket,
    Closed,
    Handshake,
    Backoff,
    /// The query leaves only now: it had waited for a connection.
    Transmitted,
}

pub struct Step {
    pub line: usize,
    pub at: Duration,
    pub what: What,
}

pub enum What {
    Asks {
        client: String,
        name: Name,
        rtype: Rtype,
        dnssec: (bool, bool),
        edns: Option<u16>,
    },
    Gets {
        client: String,
        reply: String,
    },
    Waits {
        client: String,
    },
    Leaves {
        client: String,
    },
    Table {
        name: Name,
        rtype: Rtype,
        expected: String,
    },
    Sent {
        upstream: usize,
        count: usize,
    },
    Counter {
        name: String,
        value: u64,
    },
    Flush {
        names: Vec<Name>,
    },
    Reload {
        upstreams: usize,
    },
    /// The operator allows a name private addresses.
    Allow {
        name: Name,
    },
    Network,
    Remember {
        name: Name,
        label: String,
    },
    Orders {
        label: String,
        addresses: Vec<IpAddr>,
        applied: bool,
    },
    /// No socket is open, and no timer runs.
    NothingLeft,
}

pub fn read(text: &str) -> Result<Script, String> {
    let mut script = Script {
        settings: Settings::default(),
        upstreams: 0,
        encrypted: Vec::new(),
        names: Vec::new(),
        responses: Vec::new(),
        steps: Vec::new(),
    };
    let mut at = Duration::ZERO;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split(" ;").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        one(&mut script, &mut at, number, &words).map_err(|error| format!("{number}: {error}"))?;
    }
    Ok(script)
}

fn one(script: &mut Script, at: &mut Duration, line: usize, words: &[&str]) -> Result<(), String> {
    match words {
        ["set", key, value] => set(&mut script.settings, key, value),
        [upstream, rest @ ..] if number_of(upstream, 'u').is_some() => {
            let upstream = number_of(upstream, 'u').unwrap_or(0);
            script.upstreams = script.upstreams.max(upstream + 1);
            match rest {
                ["over", transport] => script.encrypted.push((upstream, self::transport(transport)?)),
                ["only", own] => script.names.push((name(own)?.to_lower(), upstream)),
                rest => script.responses.push(self::response(upstream, rest)?),
            }
            Ok(())
        }
        [first, rest @ ..] => {
            let rest = match duration(first) {
                Ok(time) if time >= *at => {
                    *at = time;
                    rest
                }
                Ok(_) => return Err(format!("'{first}' is before the line above")),
                Err(error) if first.chars().next().is_some_and(|c| c.is_ascii_digit()) || *first == "x" => {
                    return Err(error);
                }
                Err(_) => words,
            };
            script.steps.push(Step { line, at: *at, what: step(rest)? });
            Ok(())
        }
        [] => Ok(()),
    }
}

fn set(settings: &mut Settings, key: &str, value: &str) -> Result<(), String> {
    let number = || value.parse().map_err(|_| format!("'{value}' is no number"));
    match key {
        "first" => settings.first = number()?,
        "batch" => settings.batch = number()?,
        "rounds" => settings.limits.rounds = number()?,
        "clients" => settings.limits.clients = number()?,
        "complete" => settings.complete = is_first(value, ["true", "false"])?,
        "mix_case" => settings.mix_case = is_first(value, ["true", "false"])?,
        "fallback" => settings.fallback = duration(value)?,
        "stagger" => settings.stagger = duration(value)?,
        "deadline" => settings.deadline = duration(value)?,
        "deny" => settings.deny = if is_first(value, ["any", "agreed"])? { Deny::Any } else { Deny::Agreed },
        "protect" => settings.rebinding.protect = is_first(value, ["true", "false"])?,
        "allow" => drop(settings.rebinding.allow.insert(name(value)?)),
        "negative_grace" => settings.negative_grace = duration(value)?,
        "min_ttl" => settings.min_ttl = duration(value)?,
        "max_ttl" => settings.max_ttl = duration(value)?,
        "max_negative_ttl" => settings.max_negative_ttl = duration(value)?,
        "failure_ttl" => settings.failure_ttl = duration(value)?,
        "stale" => settings.stale = duration(value)?,
        "stale_wait" => settings.stale_wait = duration(value)?,
        _ => return Err(format!("'{key}' is no setting")),
    }
    Ok(())
}

/// Whether a word is the first of two; an error if it is neither.
fn is_first(word: &str, [first, second]: [&str; 2]) -> Result<bool, String> {
    if word == first || word == second {
        return Ok(word == first);
    }
    Err(format!("'{word}' is neither {first} nor {second}"))
}

fn number_of(word: &str, kind: char) -> Option<usize> {
    word.strip_prefix(kind)?.parse::<usize>().ok()?.checked_sub(1)
}

fn duration(word: &str) -> Result<Duration, String> {
    let split = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let (number, unit) = word.split_at(split);
    let unit = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{word}' is no time")),
    };
    number
        .parse::<f64>()
        .map(|n| Duration::from_secs_f64(n * unit))
        .map_err(|_| format!("'{word}' is no time"))
}

fn transport(word: &str) -> Result<Transport, String> {
    let transports = [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic];
    let found = transports.into_iter().find(|t| format!("{t:?}").to_lowercase() == word);
    found.ok_or(format!("'{word}' is no transport"))
}

pub fn name(word: &str) -> Result<Name, String> {
    word.parse().map_err(|error| format!("'{word}': {error}"))
}

fn rtype(word: &str) -> Result<Rtype, String> {
    word.parse().map_err(|error| format!("'{word}' is {error}"))
}

fn response(upstream: usize, words: &[&str]) -> Result<Upstream, String> {
    let (tcp, words) = match words {
        ["tcp", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let [asked, kind, rest @ ..] = words else { return Err("a name and a type are missing".to_owned()) };
    let (from, rest) = match rest {
        [nth, rest @ ..] if nth.starts_with('#') => (nth[1..].parse().map_err(|_| format!("'{nth}'"))?, rest),
        rest => (1, rest),
    };
    let mut acts = Vec::new();
    if rest != ["silent"] {
        for act in rest.split(|word| *word == "then") {
            let ["after", time, act @ ..] = act else {
                return Err(format!("'{}' does not begin with after", act.join(" ")));
            };
            acts.push((duration(time)?, self::act(act)?));
        }
    }
    Ok(Upstream { upstream, tcp, name: name(asked)?.to_lower(), rtype: rtype(kind)?, from, acts })
}

fn act(words: &[&str]) -> Result<Act, String> {
    Ok(match words {
        ["wrong-id"] => Act::WrongId,
        ["wrong-question"] => Act::WrongQuestion,
        ["wrong-case", rest @ ..] => Act::WrongCase(records(rest)?),
        ["unchecked", rest @ ..] => Act::Unchecked(records(rest)?),
        ["in-lower", rest @ ..] => Act::InLower(records(rest)?),
        ["broken", rest @ ..] => Act::Broken { truncated: false, with_edns: false, records: records(rest)? },
        ["broken-edns", rest @ ..] => {
            Act::Broken { truncated: false, with_edns: true, records: records(rest)? }
        }
        ["broken-TC", rest @ ..] => {
            Act::Broken { truncated: true, with_edns: false, records: records(rest)? }
        }
        ["unasked", code, rest @ ..] => {
            Act::Unasked(code.parse().map_err(|error| format!("'{code}' is {error}"))?, records(rest)?)
        }
        ["closed"] => Act::Closed,
        ["handshake"] => Act::Handshake,
        ["backoff"] => Act::Backoff,
        ["sent"] => Act::Transmitted,
        ["garbage"] => Act::Garbage,
        ["refused"] => Act::Refused,
        ["unreachable"] => Act::Unreachable,
        ["no-socket"] => Act::NoSocket,
        ["TC", rest @ ..] => Act::Answer { rcode: Rcode::NOERROR, truncated: true, records: records(rest)? },
        [code, rest @ ..] if code.parse::<Rcode>().is_ok() => {
            Act::Answer { rcode: code.parse().unwrap_or_default(), truncated: false, records: records(rest)? }
        }
        rest => Act::Answer { rcode: Rcode::NOERROR, truncated: false, records: records(rest)? },
    })
}

fn step(words: &[&str]) -> Result<What, String> {
    let addresses = |words: &[&str]| -> Result<Vec<IpAddr>, String> {
        words.iter().map(|word| word.parse().map_err(|_| format!("'{word}' is no address"))).collect()
    };
    let count = |word: &str| word.parse().map_err(|_| format!("'{word}' is no number"));
    Ok(match words {
        [client, "asks", asked, kind, flags @ ..] => What::Asks {
            client: (*client).to_owned(),
            name: name(asked)?,
            rtype: rtype(kind)?,
            dnssec: (flags.contains(&"do"), flags.contains(&"cd")),
            edns: match flags {
                ["edns", size] => Some(size.parse().map_err(|_| format!("'{size}' is no size"))?),
                ["do"] | ["do", "cd"] => Some(1232),
                [] | ["cd"] => None,
                _ => return Err(format!("'{}' is neither do, cd nor edns and a size", flags.join(" "))),
            },
        },
        [client, "gets", reply @ ..] => What::Gets { client: (*client).to_owned(), reply: reply.join(" ") },
        [client, "waits"] => What::Waits { client: (*client).to_owned() },
        [client, "leaves"] => What::Leaves { client: (*client).to_owned() },
        ["table", asked, kind, expected @ ..] => {
            What::Table { name: name(asked)?, rtype: rtype(kind)?, expected: expected.join(" ") }
        }
        ["sent", upstream, n] => What::Sent {
            upstream: number_of(upstream, 'u').ok_or_else(|| format!("'{upstream}' is no upstream"))?,
            count: count(n)?,
        },
        ["counter", counter, n] => What::Counter { name: (*counter).to_owned(), value: count(n)? as u64 },
        ["flush", names @ ..] => {
            What::Flush { names: names.iter().map(|word| name(word)).collect::<Result<_, _>>()? }
        }
        ["reload", "with", n, "upstreams"] => What::Reload { upstreams: count(n)? },
        ["allow", allowed] => What::Allow { name: name(allowed)? },
        ["network", "changes"] => What::Network,
        ["sorter", "takes", asked, "as", label] => {
            What::Remember { name: name(asked)?, label: (*label).to_owned() }
        }
        ["sorter", "orders", label, rest @ ..] => {
            let (applied, rest) = match rest {
                [rest @ .., "is", "rejected"] => (false, rest),
                rest => (true, rest),
            };
            What::Orders { label: (*label).to_owned(), addresses: addresses(rest)?, applied }
        }
        ["nothing", "is", "left"] => What::NothingLeft,
        _ => return Err(format!("'{}' is no step", words.last().unwrap_or(&""))),
    })
}
