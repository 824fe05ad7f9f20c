//! What the view knows: samples go in, and the panes are made of it. It has no terminal, clock or socket.

use super::changes::Changes;
use super::keys::View;
use super::rates::Traffic;
use hither_client::Monotonic;
use hither_control::{Status, TopReport};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// The time over which the shares of upstreams are taken.
const WINDOW: Duration = Duration::from_secs(10);
/// Answers of the daemon that are kept for that.
const STATUSES_MAX: usize = 22;

/// All that the view shows.
#[derive(Debug)]
pub(super) struct Model {
    /// When the latest sample was taken.
    pub now: Monotonic,
    /// The time between two samples.
    pub interval: Duration,
    pub look: Look,
    /// The state of the table, or why there is none.
    pub table: Result<TableState, String>,
    pub traffic: Traffic,
    pub changes: Changes,
    pub daemon: Daemon,
    pub view: View,
    /// What lies over the panes.
    pub overlay: Overlay,
    pub is_paused: bool,
    /// Whether the screen is older than the model.
    pub is_dirty: bool,
}

/// What the terminal can show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    pub has_colour: bool,
    /// Lines and bars beyond ASCII.
    pub has_unicode: bool,
}

/// The state of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TableState {
    pub pid: u32,
    /// `None` while the daemon uses the table; else why it does not.
    pub problem: Option<String>,
    /// A remark for the reader, such as one about the network namespace.
    pub remark: Option<String>,
    pub entries: u64,
}

/// What the daemon says of itself.
#[derive(Debug)]
pub(super) struct Daemon {
    /// `None` before its first answer; an error if it does not answer.
    pub status: Option<Result<Status, String>>,
    /// As `status`, for what is asked of it most.
    pub asked: Option<Result<TopReport, String>>,
    /// Queries to each upstream, of the latest seconds.
    earlier: VecDeque<(Monotonic, HashMap<String, u64>)>,
    /// The share of each upstream in the queries of the latest seconds, in the order of the status.
    pub shares: Vec<Option<f64>>,
}

/// A page over the panes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Overlay {
    None,
    Help,
    /// What `explain` says of a name; `None` until the daemon has answered.
    Explained {
        name: String,
        text: Option<Result<String, String>>,
        scrolled: usize,
    },
}

/// What the daemon answered to one sample.
#[derive(Debug)]
pub(super) struct Heard {
    pub at: Monotonic,
    pub status: Result<Status, String>,
    pub asked: Result<TopReport, String>,
}

impl Model {
    pub fn new(interval: Duration, look: Look, by_unit: bool, bounds_us: Vec<f64>) -> Model {
        let daemon = Daemon { status: None, asked: None, earlier: VecDeque::new(), shares: Vec::new() };
        Model {
            now: Monotonic(0),
            interval,
            look,
            table: Err("the table has not been read yet".to_owned()),
            traffic: Traffic::new(bounds_us),
            changes: Changes::default(),
            daemon,
            view: View::new(by_unit),
            overlay: Overlay::None,
            is_paused: false,
            is_dirty: true,
        }
    }

    /// Takes what the daemon answered.
    pub fn hear(&mut self, heard: Heard) {
        // The first samples after a pause count from there.
        if self.is_paused {
            return;
        }
        self.is_dirty = true;
        match &heard.status {
            Ok(status) => self.daemon.share(heard.at, status),
            Err(_) => self.daemon.earlier.clear(),
        }
        self.daemon.status = Some(heard.status);
        self.daemon.asked = Some(heard.asked);
        self.keep_cursors();
    }

    /// Takes a page about a name, if it is still wanted.
    pub fn explain(&mut self, about: &str, page: Result<String, String>) {
        if let Overlay::Explained { name, text, .. } = &mut self.overlay
            && name == about
        {
            *text = Some(page);
            self.is_dirty = true;
        }
    }

    /// Stops or continues. What happens in between is in no rate.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.is_dirty = true;
        if !is_paused {
            self.traffic.forget();
            self.daemon.earlier.clear();
        }
    }
}

impl Daemon {
    fn share(&mut self, at: Monotonic, status: &Status) {
        let queries = |status: &Status| -> HashMap<String, u64> {
            status.upstreams.iter().map(|own| (own.address.clone(), own.queries)).collect()
        };
        let now = queries(status);
        while self.earlier.get(1).is_some_and(|(then, _)| at.since(*then) >= WINDOW)
            || self.earlier.len() >= STATUSES_MAX
        {
            self.earlier.pop_front();
        }
        let before = self.earlier.front().map(|(_, before)| before);
        let more = |address: &String| {
            let before = before.and_then(|before| before.get(address)).copied();
            // An upstream that is new, or of a daemon that began again, counts from nothing.
            let now = now.get(address).copied().unwrap_or(0);
            now.checked_sub(before.unwrap_or(0)).unwrap_or(now)
        };
        let own: Vec<u64> = status.upstreams.iter().map(|upstream| more(&upstream.address)).collect();
        let all: u64 = own.iter().sum();
        self.shares = own.iter().map(|own| (all > 0).then(|| *own as f64 / all as f64)).collect();
        self.earlier.push_back((at, now));
    }
}
