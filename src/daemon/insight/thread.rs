//! The thread that looks at queries for the log and for `hitherctl top`: it counts names, looks up the
//! units of clients, and writes the log of queries. So the event loop waits for none of that.

use super::askers::{Askers, ClientSocket, Units};
use super::notes::{Missed, Mode, Note, OpenRounds, Replied, Reported};
use super::query_log::QueryLog;
use super::window::Window;
use crate::daemon::clients::tap::SeenHit;
use crate::daemon::thread_results::send_result;
use hither_control::{Response, SourceKind, TopReport, encode};
use hither_net::clock::now;
use hither_table::Monotonic;
use mio::Waker;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// How often hits are looked for: while there are some, and after there were none for a while. They wake
/// nobody.
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_millis(800);
/// The same without hits to look for: while the log has to say what it left out, and else.
const POLL_BEHIND: Duration = Duration::from_secs(1);
const POLL_IDLE: Duration = Duration::from_secs(3600);
/// Notes that are taken before it is the turn of hits. So a flood of misses does not keep them waiting.
const NOTES_PER_PASS: usize = 256;
/// How long a report is sent again to those who ask sooner. So any number of them costs little.
const REPORT_FOR: Duration = Duration::from_millis(50);

/// The ends of the queues that the thread has.
pub(super) struct Ends {
    pub notes: Receiver<Note>,
    pub hits: Receiver<SeenHit>,
    pub reports: Sender<Reported>,
    pub waker: Arc<Waker>,
}

/// The state of the thread.
pub(super) struct Looker {
    ends: Ends,
    mode: Mode,
    window: Window,
    units: Units,
    askers: Askers,
    log: QueryLog,
    /// The last report, and until when it is sent again: without units, and with them.
    reports: [Option<(Arc<[u8]>, Monotonic)>; 2],
    /// The unit of queries whose client is not looked up.
    unknown: Arc<str>,
}

impl Looker {
    pub fn new(ends: Ends) -> Looker {
        Looker {
            ends,
            mode: Mode::default(),
            window: Window::new(now()),
            units: Units::new(),
            askers: Askers::default(),
            log: QueryLog::default(),
            reports: [None, None],
            unknown: Arc::from(""),
        }
    }

    /// Works until the event loop drops its end of the queue.
    pub fn run(mut self) {
        let mut pause = POLL_MIN;
        loop {
            let wait = match (self.mode.hits, self.log.is_behind()) {
                (true, _) => pause,
                (false, true) => POLL_BEHIND,
                (false, false) => POLL_IDLE,
            };
            match self.ends.notes.recv_timeout(wait) {
                Ok(note) => self.on_note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.take_hits();
                    return self.log.end();
                }
            }
            for _ in 0..NOTES_PER_PASS {
                let Ok(note) = self.ends.notes.try_recv() else { break };
                self.on_note(note);
            }
            pause = if self.take_hits() { POLL_MIN } else { (pause * 2).min(POLL_MAX) };
            self.log.on_time(now());
        }
    }

    fn on_note(&mut self, note: Note) {
        match note {
            Note::Missed(missed) => self.on_miss(&missed),
            Note::Replied(replied) => {
                self.log.leave_out(replied.left_out);
                let now = now();
                let unit = self.units.of_reply(replied.client, &replied.name, replied.took, now);
                self.log.write(&replied, unit, now);
            }
            Note::Report { slot, shows_units, rounds } => {
                let report = self.report(shows_units, &rounds);
                send_result(&self.ends.reports, &self.ends.waker, (slot, report));
            }
            Note::Askers { name, to } => {
                let problem = self.units.problem();
                send_result(&to, &self.ends.waker, self.askers.of(&name, problem, now()));
            }
            Note::Mode(mode) => {
                // Numbers from before a pause would be wrong.
                if mode.counts && !self.mode.counts {
                    self.window = Window::new(now());
                }
                self.mode = mode;
            }
        }
    }

    fn on_miss(&mut self, missed: &Missed) {
        let unit = match self.mode.units {
            true => self.units.look_up(missed.client, missed.server, missed.at),
            false => Arc::clone(&self.unknown),
        };
        if self.mode.counts {
            self.window.add_unseen(missed.unseen);
            self.window.add_miss(&missed.name, &unit, missed.at);
        }
        if self.mode.units {
            self.units.remember(missed.client, &missed.name, &unit, missed.at);
            self.askers.add(&missed.name, &unit, missed.at);
        }
    }

    /// Takes the hits that have come. Whether there were some.
    fn take_hits(&mut self) -> bool {
        let mut some = false;
        while let Ok(hit) = self.ends.hits.try_recv() {
            some = true;
            if hit.weight > 0 {
                self.window.add_hits(&hit.name, hit.weight, hit.at);
            } else {
                self.log.leave_out(hit.left_out);
                let client = ClientSocket { address: hit.client, is_tcp: hit.is_tcp };
                let replied = Replied {
                    name: hit.name,
                    rtype: hit.rtype,
                    client,
                    // A hit that fails was refused at a limit.
                    source: if hit.rcode == 2 { SourceKind::Failure } else { SourceKind::Cache },
                    upstream: None,
                    rcode: hit.rcode,
                    took: Duration::ZERO,
                    left_out: 0,
                };
                let unit = self.units.known(client, hit.at);
                self.log.write(&replied, unit, hit.at);
            }
        }
        some
    }

    fn report(&mut self, shows_units: bool, rounds: &OpenRounds) -> Arc<[u8]> {
        let (now, kept) = (now(), &self.reports[usize::from(shows_units)]);
        if let Some((octets, _)) = kept.as_ref().filter(|(_, until)| now < *until) {
            return Arc::clone(octets);
        }
        self.take_hits();
        let mut report = self.window.report(now);
        (report.rounds, report.rounds_more) = rounds.clone();
        if shows_units {
            report.units_unknown = self.units.problem();
        } else {
            hide_units(&mut report);
        }
        let response = Response::Top(Box::new(report.fitting()));
        let octets =
            encode(&response).or_else(|error| encode(&Response::Error { message: error.to_string() }));
        let octets: Arc<[u8]> = Arc::from(octets.unwrap_or_default());
        self.reports[usize::from(shows_units)] = Some((Arc::clone(&octets), now.plus(REPORT_FOR)));
        octets
    }
}

fn hide_units(report: &mut TopReport) {
    report.units.clear();
    report.units_more = 0;
    report.names.iter_mut().for_each(|name| name.units.clear());
    report.units_unknown = Some("only root and the daemon's user are shown the units".to_owned());
}
