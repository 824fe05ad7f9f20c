//! The screens of a model that tests make, at several sizes, and what keys do to it.

use super::changes::Changes;
use super::draw;
use super::keys::{Effect, Key, Pane};
use super::model::{Heard, Look, Model, Overlay, TableState};
use super::panes;
use super::rates::Counted;
use super::report::report;
use hither_client::{Counter, Counters, Monotonic, Name, Rtt, Snapshot};
use hither_control::{
    OpenRound, Status, TopName, TopReport, TopUnit, Transport, UpstreamState, UpstreamStatus,
};
use hither_table::{Draft, FamilyDraft, Geometry, Memory, Writer};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

const LOOK: Look = Look { has_colour: true, has_unicode: true };
/// A name whose owner would like to control the terminal.
const ODD: &str = "a\\027[2Jb\\226\\128\\174.example.";

/// A table in which tests publish.
struct Published {
    writer: Writer,
    changes: Changes,
    version: u64,
}

impl Published {
    fn new() -> Published {
        let geometry = Geometry { entries: 64 };
        let memory = Memory::heap(geometry.words());
        let writer = Writer::create(memory, &geometry, [1, 2], 3, 10).expect("a table");
        Published { writer, changes: Changes::default(), version: 100 }
    }

    /// Publishes addresses of a name, and lets the changes see it. A time of `None` is out of reach. A set
    /// with `is_new` has another set version.
    fn put(&mut self, name: &str, times: &[(u8, Option<u32>)], is_new: bool, seconds: u64) {
        let name: Name = name.parse().expect("a name");
        let at = Monotonic::from_ms(seconds * 1000);
        self.version += 1;
        let addresses = times.iter().map(|(end, _)| IpAddr::from([192, 0, 2, *end]));
        let mut set = FamilyDraft::of(self.version, addresses, at.as_ms() + 60_000, 60);
        for (own, (_, time)) in set.addresses.iter_mut().zip(times) {
            own.rtt = time.map_or(Rtt::Unreachable, Rtt::Micros);
        }
        if !is_new {
            set.set_version = 100;
            set.round = 100;
        }
        let mut follower = self.writer.reader().follow();
        let draft = Draft { name: name.to_lower(), a: Some(set), aaaa: None };
        self.writer.put(&draft, at).expect("room");
        let mut snapshot = Box::new(Snapshot::new());
        while follower.step(&mut snapshot) == hither_client::Step::Record {
            self.changes.take(&snapshot, at);
        }
    }
}

fn counted(seconds: u64, queries: u64, answers: [u64; 3]) -> Counted {
    let mut counters = Counters::default();
    let values = [
        (Counter::Queries, queries),
        (Counter::Hits, queries * 9 / 10),
        (Counter::Misses, queries - queries * 9 / 10),
        (Counter::RoundsStarted, queries / 10),
        (Counter::RoundsLive, 2),
        (Counter::Publishes, queries / 20),
    ];
    for (counter, value) in values {
        counters.set(counter, value);
    }
    Counted { at: Monotonic::from_ms(seconds * 1000), generation: 1, counters, answers: answers.to_vec() }
}

fn upstream(address: &str, transport: Transport, state: UpstreamState, queries: u64) -> UpstreamStatus {
    let srtt_us = (state == UpstreamState::Up).then_some(8_120);
    UpstreamStatus { address: address.to_owned(), transport, state, srtt_us, queries, ..Default::default() }
}

fn status(queries: u64) -> Status {
    let upstreams = vec![
        upstream("192.0.2.53:53", Transport::Udp, UpstreamState::Up, 3 * queries),
        upstream("tls://dns.example@198.51.100.1", Transport::Tls, UpstreamState::Up, queries),
        upstream("203.0.113.9:53", Transport::Udp, UpstreamState::Down, 7),
    ];
    Status { pid: 4711, uptime_s: 125, upstreams, ..Status::default() }
}

fn asked() -> TopReport {
    let name = |name: &str, queries, misses, permille| TopName {
        name: name.to_owned(),
        queries,
        misses,
        permille,
        ..TopName::default()
    };
    let unit = |unit: &str, misses| TopUnit { unit: unit.to_owned(), misses };
    let round = |name: &str, rtype: &str, age_ms, clients| OpenRound {
        name: name.to_owned(),
        rtype: rtype.to_owned(),
        age_ms,
        clients,
        outstanding: vec!["203.0.113.9:53".to_owned()],
    };
    TopReport {
        window_ms: 60_000,
        names: vec![
            name("www.example.com.", 1200, 3, 600),
            name("api.example.net.", 500, 40, 250),
            name("a-very-long-name-of-a-service.internal.example.org.", 300, 1, 150),
        ],
        units: vec![unit("nginx.service", 40), unit("", 4)],
        rounds: vec![round("slow.example.org.", "A", 1200, 3), round("new.example.", "HTTPS", 12, 1)],
        rounds_more: 5,
        ..TopReport::default()
    }
}

fn model() -> Model {
    let mut published = Published::new();
    published.put("www.example.com", &[(1, Some(3000)), (2, Some(9000))], true, 3);
    published.put("www.example.com", &[(2, Some(2000)), (1, Some(9000))], false, 6);
    published.put("api.example.net", &[(7, Some(2000)), (8, None)], true, 8);
    published.put(ODD, &[(9, Some(4000))], true, 9);
    let mut model = Model::new(Duration::from_millis(500), LOOK, false, vec![100.0, 10_000.0, 100_000.0]);
    model.table = Ok(TableState { pid: 4711, problem: None, remark: None, entries: 12_345 });
    for second in 0..=10 {
        model.now = Monotonic::from_ms(second * 1000);
        model.traffic.take(counted(second, 100 * second * second, [90 * second, 9 * second, second]));
        let (status, asked) = (Ok(status(10 + second)), Ok(asked()));
        model.hear(Heard { at: model.now, status, asked });
    }
    model.changes = published.changes;
    model
}

/// The screen as lines without their trailing spaces.
fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw::draw(frame, model)).expect("drawn");
    let buffer = terminal.backend().buffer().clone();
    let rows = buffer.content().chunks(usize::from(width.max(1)));
    let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
    rows.map(|row| line(row).trim_end().to_owned() + "\n").collect()
}

/// Compares with the screen in a file, or renews that.
fn assert_screen(model: &Model, width: u16, height: u16, file: &str) {
    let screen = screen(model, width, height);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ctl/top/tests").join(file);
    if std::env::var_os("HITHER_RENEW").is_some() {
        std::fs::write(&path, &screen).expect("writable");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(screen, expected, "{file}; HITHER_RENEW=1 renews it:\n{screen}");
}

#[test]
fn the_panes_are_arranged_for_the_size_of_the_screen() {
    let model = model();
    for (width, height) in [(60, 15), (80, 24), (120, 40), (200, 60)] {
        assert_screen(&model, width, height, &format!("{width}x{height}.txt"));
    }
    for (width, height) in [(59, 40), (200, 14), (1, 1), (0, 0)] {
        let text = screen(&model, width, height);
        assert!(width < 50 || text.contains("needs 60 x 15"), "{text}");
    }
}

#[test]
fn without_unicode_and_colours_there_are_none() {
    let mut model = model();
    model.look = Look { has_colour: false, has_unicode: false };
    assert!(screen(&model, 120, 40).is_ascii());
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).expect("a screen");
    terminal.draw(|frame| draw::draw(frame, &model)).expect("drawn");
    let reset = ratatui::style::Color::Reset;
    assert!(terminal.backend().buffer().content().iter().all(|cell| cell.fg == reset && cell.bg == reset));
}

#[test]
fn names_cannot_control_the_terminal() {
    let mut model = model();
    let status = Status {
        problems: vec!["evil \u{1b}[2J \u{202e}".to_owned()],
        upstreams: vec![upstream("tls://\u{1b}]0;x\u{7}.example", Transport::Tls, UpstreamState::Up, 1)],
        ..status(1)
    };
    model.hear(Heard { at: model.now, status: Ok(status), asked: Err("\u{9b}31m".to_owned()) });
    let text = screen(&model, 200, 60);
    assert!(text.contains("a\\027[2jb\\226\\128\\17"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn without_a_daemon_or_a_table_the_view_says_so() {
    let mut model = model();
    let gone = || Err("the daemon at '/run/x' cannot be reached: refused".to_owned());
    model.hear(Heard { at: model.now, status: gone(), asked: Err("refused".to_owned()) });
    let text = screen(&model, 120, 40);
    assert!(text.contains("the table alone: the daemon at '/run/x' cannot be reached"), "{text}");
    assert!(text.contains("only the daemon knows its upstreams") && text.contains("www.example.com."));
    model.table = Err("the table in '/run/x' cannot be read".to_owned());
    assert!(screen(&model, 120, 40).contains("the table in '/run/x' cannot be read"));
}

/// The first cells of the rows of a pane.
fn firsts(model: &Model, pane: Pane) -> Vec<String> {
    panes::list(model, pane).rows.into_iter().map(|row| row.cells[0].clone()).collect()
}

#[test]
fn keys_move_sort_filter_and_open() {
    let mut model = model();
    let keys = |model: &mut Model, keys: &str| {
        for key in keys.chars() {
            let _effect = model.key(if key == '\t' { Key::Tab } else { Key::Char(key) });
        }
    };
    keys(&mut model, "j");
    assert_eq!(model.key(Key::Enter), Effect::Explain("api.example.net.".to_owned()));
    assert!(screen(&model, 80, 24).contains("the daemon is asked"));
    model.explain("other.example.", Ok("another page".to_owned()));
    model.explain("api.example.net.", Ok("line\n".repeat(50)));
    let _effect = model.key(Key::End);
    assert!(matches!(&model.overlay, Overlay::Explained { scrolled: 49, .. }), "{:?}", model.overlay);
    keys(&mut model, "q");
    assert_eq!(model.overlay, Overlay::None);
    keys(&mut model, "ss");
    assert_eq!(firsts(&model, Pane::Asked)[1..], ["api.example.net.", "www.example.com."]);
    assert_eq!(model.view.selected(Pane::Asked), 1, "the cursor stays on its name");
    keys(&mut model, "/API");
    assert_eq!(firsts(&model, Pane::Asked), ["api.example.net."]);
    assert_eq!(firsts(&model, Pane::Lost), ["api.example.net."]);
    assert!(screen(&model, 80, 24).contains("filter: API_"));
    let _effect = (model.key(Key::Enter), model.key(Key::Escape));
    assert_eq!(firsts(&model, Pane::Asked).len(), 3);
    keys(&mut model, "u");
    assert_eq!(firsts(&model, Pane::Asked), ["not known", "nginx.service"], "by name, too");
    assert_eq!(model.key(Key::Enter), Effect::Nothing, "a unit has no page");
    keys(&mut model, "4s");
    assert_eq!(firsts(&model, Pane::Changed)[0], "a\\027[2jb\\226\\128\\174.example.");
    keys(&mut model, "?");
    assert!(screen(&model, 80, 24).contains("these keys"));
    keys(&mut model, "x");
    assert_eq!([model.key(Key::Interrupt), model.key(Key::Char('q'))], [Effect::Quit, Effect::Quit]);
    assert_eq!(model.key(Key::Suspend), Effect::Suspend);
}

#[test]
fn every_key_at_every_place_leaves_a_model_that_can_be_drawn() {
    let mut model = model();
    let all = [
        Key::Up,
        Key::Down,
        Key::PageUp,
        Key::PageDown,
        Key::Home,
        Key::End,
        Key::Tab,
        Key::BackTab,
        Key::Enter,
        Key::Escape,
        Key::Backspace,
        Key::Char('s'),
        Key::Char('/'),
        Key::Char('u'),
        Key::Char('?'),
        Key::Char('p'),
        Key::Char('\u{4e2d}'),
        Key::Char('5'),
    ];
    let mut state = 1_u64;
    for _ in 0..600 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = all[(state >> 33) as usize % all.len()];
        let _effect = model.key(key);
        if state >> 60 == 0 {
            model.changes = Changes::default();
            model.keep_cursors();
        }
        let size = 40 + (state >> 50) as u16 % 100;
        screen(&model, size, size / 3);
    }
}

#[test]
fn a_pause_is_in_no_rate_and_answers_during_it_are_left_out() {
    let mut model = model();
    assert!(model.traffic.rates.queries > 0.0);
    let _effect = model.key(Key::Char('p'));
    model.hear(Heard { at: model.now, status: Err("late".to_owned()), asked: Ok(asked()) });
    assert!(matches!(model.daemon.status, Some(Ok(_))) && screen(&model, 80, 24).contains("PAUSED"));
    let _effect = model.key(Key::Char(' '));
    model.traffic.take(counted(1000, 1_000_000, [0; 3]));
    assert_eq!(model.traffic.rates.queries, 0.0);
}

#[test]
fn a_change_says_what_changed() {
    let mut published = Published::new();
    let what = |published: &Published| published.changes.latest[0].what.as_str();
    published.put("a.example", &[(1, Some(5)), (2, Some(9))], true, 1);
    assert_eq!(what(&published), "set");
    published.put("a.example", &[(2, Some(5)), (1, Some(9))], false, 2);
    assert_eq!(what(&published), "order");
    published.put("a.example", &[(2, Some(6)), (1, Some(9))], false, 3);
    assert_eq!(what(&published), "renewed");
    published.put("a.example", &[(2, Some(6)), (1, None)], false, 4);
    assert_eq!((what(&published), published.changes.lost.len()), ("order", 1));
    published.put("a.example", &[(2, Some(7)), (1, None)], false, 5);
    assert_eq!(published.changes.lost[0].at, Monotonic::from_ms(4000), "since then");
    published.put("a.example", &[(2, Some(7)), (1, Some(8))], false, 6);
    assert!(published.changes.lost.is_empty(), "it answers again");
    for n in 0..6000 {
        published.put(&format!("n{n}.example"), &[(1, None)], true, 7);
    }
    assert!(published.changes.latest.len() <= 500 && published.changes.lost.len() <= 500);
}

#[test]
fn the_report_has_what_the_view_shows() {
    let report = report(&model());
    assert_eq!((report["pid"].as_u64(), report["entries"].as_u64()), (Some(4711), Some(12_345)));
    assert_eq!(report["queries_per_s"], 1900.0);
    assert_eq!(report["upstreams"][0]["share"], 0.75);
    assert_eq!(report["asked"]["names"][0]["name"], "www.example.com.");
    assert_eq!(
        (&report["changes"][0]["change"], &report["unreachable"][0]["address"]),
        (&"set".into(), &"192.0.2.8".into())
    );
    assert!(report["daemon_problem"].is_null() && report["answer_us"]["p50"].is_number());
}
