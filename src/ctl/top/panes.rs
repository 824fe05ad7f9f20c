//! The lists of the panes: columns and rows, filtered and sorted, as text that no terminal obeys.

use super::changes::What;
use super::keys::Pane;
use super::model::Model;
use crate::ctl::entry::rtype;
use crate::ctl::explain::clean;
use hither_client::Monotonic;
use hither_control::{TopReport, UpstreamState, UpstreamStatus};
use std::cmp::Reverse;

/// A list as it is shown.
#[derive(Debug)]
pub(super) struct List {
    pub title: String,
    pub columns: &'static [Column],
    pub rows: Vec<Row>,
    /// What stands below the rows, or instead of them.
    pub note: Option<String>,
}

/// A column. The first one has what the others leave.
#[derive(Debug)]
pub(super) struct Column {
    pub title: &'static str,
    pub width: u16,
    /// The width that it takes where there is space.
    pub wide: u16,
    pub is_number: bool,
    /// Where names would be cut, the column with the highest rank is left out; with 0 it stays.
    pub rank: u8,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// What the row is about, by which the cursor stays on it.
    pub key: String,
    /// The name that can be explained.
    pub name: Option<String>,
    pub cells: Vec<String>,
    pub tone: Tone,
}

/// How a row is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

const fn text(title: &'static str, width: u16) -> Column {
    Column { title, width, wide: width, is_number: false, rank: 0 }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { is_number: true, ..text(title, width) }
}

const fn dropped(rank: u8, column: Column) -> Column {
    Column { rank, ..column }
}

const UPSTREAMS: [Column; 6] = [
    text("upstream", 0),
    text("by", 5),
    text("state", 7),
    number("time", 7),
    number("share", 7),
    dropped(1, number("queries", 9)),
];
const NAMES: [Column; 4] =
    [text("name", 0), number("queries", 8), dropped(1, number("misses", 7)), number("share", 7)];
const UNITS: [Column; 2] = [text("unit", 0), number("misses", 8)];
const ROUNDS: [Column; 5] = [
    text("name", 0),
    text("type", 5),
    number("open", 7),
    dropped(1, number("clients", 7)),
    dropped(2, number("waits", 5)),
];
const CHANGED: [Column; 5] = [
    text("name", 0),
    text("type", 4),
    text("change", 7),
    dropped(1, number("version", 16)),
    number("ago", 6),
];
const LOST: [Column; 3] = [text("name", 0), Column { wide: 39, ..text("address", 15) }, number("ago", 6)];

/// The orders of a pane, by their columns; the first one is the usual one.
pub(super) const fn orders(pane: Pane) -> &'static [&'static str] {
    match pane {
        Pane::Upstreams => &["as configured", "time", "share", "state"],
        Pane::Asked => &["queries", "misses", "name"],
        Pane::Rounds => &["oldest", "clients", "name"],
        Pane::Changed => &["newest", "name", "change"],
        Pane::Lost => &["newest", "name", "address"],
    }
}

/// The list of a pane.
pub(super) fn list(model: &Model, pane: Pane) -> List {
    match pane {
        Pane::Upstreams => upstreams(model),
        Pane::Asked if model.view.by_unit => units(model),
        Pane::Asked => names(model),
        Pane::Rounds => rounds(model),
        Pane::Changed => changed(model),
        Pane::Lost => lost(model),
    }
}

/// Whether the filter lets a name through; letter case does not matter.
fn is_shown(model: &Model, name: &str) -> bool {
    let filter = model.view.filter.to_ascii_lowercase();
    filter.is_empty() || name.to_ascii_lowercase().contains(&filter)
}

fn title(model: &Model, pane: Pane, what: &str) -> String {
    match model.view.sort(pane) {
        0 => what.to_owned(),
        sort => format!("{what}, by {}", orders(pane)[sort]),
    }
}

fn upstreams(model: &Model) -> List {
    let title = title(model, Pane::Upstreams, "Upstreams");
    let (all, more, why) = match &model.daemon.status {
        Some(Ok(status)) => (status.upstreams.as_slice(), status.upstreams_more, None),
        Some(Err(_)) => (&[][..], 0, Some("only the daemon knows its upstreams".to_owned())),
        None => (&[][..], 0, Some("the daemon is asked".to_owned())),
    };
    let share = |at: usize| model.daemon.shares.get(at).copied().flatten();
    let mut order: Vec<usize> = (0..all.len()).collect();
    match model.view.sort(Pane::Upstreams) {
        1 => order.sort_by_key(|at| all[*at].srtt_us.unwrap_or(u64::MAX)),
        2 => order.sort_by(|a, b| share(*b).unwrap_or(0.0).total_cmp(&share(*a).unwrap_or(0.0))),
        3 => order.sort_by(|a, b| all[*a].state.as_str().cmp(all[*b].state.as_str())),
        _ => {}
    }
    let rows = order.into_iter().map(|at| upstream(&all[at], share(at))).collect();
    let none = || all.is_empty().then(|| "the daemon has no upstream".to_owned());
    List { title, columns: &UPSTREAMS, rows, note: why.or_else(|| and_more(more)).or_else(none) }
}

fn upstream(own: &UpstreamStatus, share: Option<f64>) -> Row {
    let tone = match own.state {
        UpstreamState::Up => Tone::Good,
        UpstreamState::Down => Tone::Bad,
        UpstreamState::Trial | UpstreamState::Silent => Tone::Warning,
        UpstreamState::Unknown | UpstreamState::Other(_) => Tone::Plain,
    };
    let cells = vec![
        clean(&own.address),
        clean(own.transport.as_str()),
        clean(own.state.as_str()),
        own.srtt_us.map_or_else(|| "-".to_owned(), |us| micros(us as f64)),
        share.map_or_else(|| "-".to_owned(), percent),
        own.queries.to_string(),
    ];
    Row { key: own.address.clone(), name: None, cells, tone }
}

/// The report of the daemon, or why there is none.
fn report(model: &Model) -> Result<&TopReport, String> {
    match &model.daemon.asked {
        Some(Ok(report)) => Ok(report),
        Some(Err(why)) => Err(clean(why)),
        None => Err("the daemon is asked".to_owned()),
    }
}

fn names(model: &Model) -> List {
    let mut list = List {
        title: title(model, Pane::Asked, "Asked most"),
        columns: &NAMES,
        rows: Vec::new(),
        note: None,
    };
    let report = match report(model) {
        Ok(report) => report,
        Err(why) => return List { note: Some(why), ..list },
    };
    let mut all: Vec<_> = report.names.iter().filter(|own| is_shown(model, &own.name)).collect();
    match model.view.sort(Pane::Asked) {
        1 => all.sort_by_key(|own| Reverse(own.misses)),
        2 => all.sort_by(|a, b| a.name.cmp(&b.name)),
        _ => all.sort_by_key(|own| Reverse(own.queries)),
    }
    list.rows.extend(all.into_iter().map(|own| {
        let name = clean(&own.name);
        let share = percent(f64::from(own.permille) / 1000.0);
        let cells = vec![name.clone(), own.queries.to_string(), own.misses.to_string(), share];
        Row { key: name.clone(), name: Some(name), cells, tone: Tone::Plain }
    }));
    list.note = and_more(report.names_more).or_else(|| {
        report.names.is_empty().then(|| "no query since the daemon began to look at them".to_owned())
    });
    list
}

fn units(model: &Model) -> List {
    let title = title(model, Pane::Asked, "Units whose queries needed a round");
    let mut list = List { title, columns: &UNITS, rows: Vec::new(), note: None };
    let report = match report(model) {
        Ok(report) => report,
        Err(why) => return List { note: Some(why), ..list },
    };
    let mut all: Vec<_> = report.units.iter().filter(|own| is_shown(model, &own.unit)).collect();
    match model.view.sort(Pane::Asked) {
        2 => all.sort_by(|a, b| a.unit.cmp(&b.unit)),
        _ => all.sort_by_key(|own| Reverse(own.misses)),
    }
    list.rows.extend(all.into_iter().map(|own| {
        let unit = if own.unit.is_empty() { "not known".to_owned() } else { clean(&own.unit) };
        let tone = if own.unit.is_empty() { Tone::Faint } else { Tone::Plain };
        Row { key: unit.clone(), name: None, cells: vec![unit, own.misses.to_string()], tone }
    }));
    let nothing = || report.units.is_empty().then(|| "no query needed a round".to_owned());
    let unknown = report.units_unknown.as_deref().map(clean);
    list.note = unknown.or_else(|| and_more(report.units_more)).or_else(nothing);
    list
}

fn rounds(model: &Model) -> List {
    let title = title(model, Pane::Rounds, "Rounds open now");
    let mut list = List { title, columns: &ROUNDS, rows: Vec::new(), note: None };
    let report = match report(model) {
        Ok(report) => report,
        Err(why) => return List { note: Some(why), ..list },
    };
    let mut all: Vec<_> = report.rounds.iter().filter(|own| is_shown(model, &own.name)).collect();
    match model.view.sort(Pane::Rounds) {
        1 => all.sort_by_key(|own| Reverse(own.clients)),
        2 => all.sort_by(|a, b| a.name.cmp(&b.name)),
        _ => all.sort_by_key(|own| Reverse(own.age_ms)),
    }
    list.rows.extend(all.into_iter().map(|own| {
        let name = clean(&own.name);
        let cells = vec![
            name.clone(),
            clean(&own.rtype),
            micros(own.age_ms as f64 * 1000.0),
            own.clients.to_string(),
            own.outstanding.len().to_string(),
        ];
        let tone = if own.age_ms >= 1000 { Tone::Warning } else { Tone::Plain };
        Row { key: format!("{name} {}", own.rtype), name: Some(name), cells, tone }
    }));
    list.note = and_more(report.rounds_more);
    list
}

fn changed(model: &Model) -> List {
    let title = title(model, Pane::Changed, "Changed");
    let mut all: Vec<_> = model.changes.latest.iter().filter(|own| is_shown(model, &own.name)).collect();
    match model.view.sort(Pane::Changed) {
        1 => all.sort_by(|a, b| a.name.cmp(&b.name)),
        2 => all.sort_by_key(|own| own.what),
        _ => {}
    }
    let rows = all.into_iter().map(|own| {
        let tone = match own.what {
            What::Set => Tone::Good,
            What::Denied => Tone::Warning,
            What::Order => Tone::Plain,
            What::Renewed => Tone::Faint,
        };
        let cells = vec![
            own.name.clone(),
            rtype(own.family).to_owned(),
            own.what.as_str().to_owned(),
            own.version.to_string(),
            ago(own.at, model.now),
        ];
        let key = format!("{} {}", own.name, own.version);
        Row { key, name: Some(own.name.clone()), cells, tone }
    });
    List { title, columns: &CHANGED, rows: rows.collect(), note: and_more(model.changes.unread) }
}

fn lost(model: &Model) -> List {
    let title = title(model, Pane::Lost, "Out of reach");
    let mut all: Vec<_> = model.changes.lost.iter().filter(|own| is_shown(model, &own.name)).collect();
    match model.view.sort(Pane::Lost) {
        1 => all.sort_by(|a, b| a.name.cmp(&b.name)),
        2 => all.sort_by_key(|own| own.address),
        _ => {}
    }
    let rows = all.into_iter().map(|own| {
        let address = own.address.to_string();
        let key = format!("{} {address}", own.name);
        let cells = vec![own.name.clone(), address, ago(own.at, model.now)];
        Row { key, name: Some(own.name.clone()), cells, tone: Tone::Bad }
    });
    List { title, columns: &LOST, rows: rows.collect(), note: None }
}

fn and_more(number: u64) -> Option<String> {
    (number > 0).then(|| format!("and {number} more"))
}

/// A time in three or four digits with its unit.
pub(super) fn micros(us: f64) -> String {
    match us {
        _ if us < 9_995.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 99_950.0 => format!("{:.1} ms", us / 1e3),
        _ if us < 9_999_500.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.0} s", us / 1e6),
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A rate, with a fraction where it is small.
pub(super) fn rate(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") }
}

/// The time since `at`, in whole units.
fn ago(at: Monotonic, now: Monotonic) -> String {
    match now.since(at).as_secs() {
        seconds @ 0..=99 => format!("{seconds} s"),
        seconds @ 100..=5_999 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
