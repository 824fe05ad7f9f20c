//! `top`: a live view of the table and the daemon, or one report as JSON.
//!
//! The model knows neither terminal nor table: this file takes a sample of the table at each interval, asks
//! the daemon at most twice a second, hands both to the model, and draws when the model has changed.

mod changes;
mod daemon;
mod draw;
mod events;
mod keys;
mod model;
mod panes;
mod rates;
mod reading;
mod report;
mod terminal;
#[cfg(test)]
mod tests;

use super::{Context, End};
use daemon::{Answer, Question};
use events::{Event, Events};
use hither_client::Monotonic;
use hither_net::clock::now;
use keys::Effect;
use model::{Look, Model};
use reading::Reading;
use std::io::{self, Write};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;
use terminal::Screen;

/// The daemon is asked at most this often, so that many views cost it little.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// The options of the verb.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub by_unit: bool,
    pub interval: Duration,
    pub no_color: bool,
}

/// Reads the time between two looks.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    if (0.1..=60.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("expected 0.1 to 60 seconds".to_owned())
    }
}

pub(super) fn top(context: &Context, out: &mut impl Write, options: Options) -> Result<End, End> {
    if context.json {
        return one_report(context, out, options);
    }
    if let Some(why) = terminal::obstacle() {
        return Err(End::Failed(why.to_owned()));
    }
    let failed = |error: io::Error| End::Failed(format!("the terminal cannot be used: {error}"));
    // Signals are blocked before a thread is started.
    let events = Events::new().map_err(failed)?;
    let screen = Screen::open().map_err(failed)?;
    events.read_keys().map_err(failed)?;
    let context = Context { dir: context.dir.clone(), json: false };
    let reading = Reading::of(&context.dir);
    let questions = daemon::start(context, events.sender()).map_err(failed)?;
    let look = terminal::look(options.no_color);
    let model = Model::new(options.interval, look, options.by_unit, reading::bounds_us());
    let mut view = Running { model, reading, screen, events, questions, asked: None };
    view.run().map_err(failed)
}

/// Two samples and what lies between them.
fn one_report(context: &Context, out: &mut impl Write, options: Options) -> Result<End, End> {
    let look = Look { has_colour: false, has_unicode: false };
    let mut model = Model::new(options.interval, look, options.by_unit, reading::bounds_us());
    let mut reading = Reading::of(&context.dir);
    sample(&mut model, &mut reading, now());
    model.hear(daemon::sample(context));
    std::thread::sleep(options.interval);
    sample(&mut model, &mut reading, now());
    model.hear(daemon::sample(context));
    writeln!(out, "{}", report::report(&model))?;
    match (&model.table, &model.daemon.status) {
        (Err(why), Some(Err(_)) | None) => Err(End::Failed(why.clone())),
        _ => Ok(End::Done),
    }
}

fn sample(model: &mut Model, reading: &mut Reading, now: Monotonic) {
    model.now = now;
    let sampled = reading.sample(now, &mut model.changes);
    model.table = sampled.map(|(table, counted)| {
        model.traffic.take(counted);
        table
    });
    model.keep_cursors();
    model.is_dirty = true;
}

/// The view while it runs.
struct Running {
    model: Model,
    reading: Reading,
    screen: Screen,
    events: Events,
    questions: SyncSender<Question>,
    /// When the daemon was asked, and whether it has not answered yet.
    asked: Option<(Monotonic, bool)>,
}

impl Running {
    fn run(&mut self) -> io::Result<End> {
        let mut due = now();
        loop {
            let time = now();
            if time >= due && !self.model.is_paused {
                self.ask(time);
                sample(&mut self.model, &mut self.reading, time);
                // After a stop the samples that were missed are not made up for.
                due = due.plus(self.model.interval).max(time);
            }
            if std::mem::take(&mut self.model.is_dirty) {
                self.screen.draw(&self.model)?;
            }
            let end = if self.model.is_paused { time.plus(Duration::from_secs(3600)) } else { due };
            for event in self.events.wait(end)? {
                if let Some(end) = self.handle(event)? {
                    return Ok(end);
                }
            }
        }
    }

    /// Asks the daemon for a sample, if it has answered the last question and that is long enough ago.
    fn ask(&mut self, time: Monotonic) {
        let may_ask = self.asked.is_none_or(|(at, waits)| !waits && time.since(at) >= ASK_EVERY);
        if may_ask && self.question(Question::Sample) {
            self.asked = Some((time, true));
        }
    }

    /// Hands a question to the thread; `false` if its queue is full.
    fn question(&mut self, question: Question) -> bool {
        match self.questions.try_send(question) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    fn handle(&mut self, event: Event) -> io::Result<Option<End>> {
        match event {
            Event::Key(key) => {
                // A planted fault, which only builds for tests have.
                #[cfg(debug_assertions)]
                if key == keys::Key::Char('!') && std::env::var_os("HITHER_TOP_PANIC").is_some() {
                    panic!("planted");
                }
                let was_paused = self.model.is_paused;
                let effect = self.model.key(key);
                if was_paused && !self.model.is_paused {
                    self.reading.skip_changes();
                }
                return self.carry_out(effect);
            }
            Event::Resized => self.model.is_dirty = true,
            Event::Continued => {
                self.screen.enter()?;
                self.model.is_dirty = true;
            }
            Event::Stop => self.stop(false)?,
            Event::End => return Ok(Some(End::Done)),
            Event::Answer(Answer::Sample(heard)) => {
                if let Some((_, waits)) = &mut self.asked {
                    *waits = false;
                }
                self.model.hear(*heard);
            }
            Event::Answer(Answer::Explained { name, page }) => self.model.explain(&name, page),
            Event::Broken(why) => return Err(io::Error::other(why)),
        }
        Ok(None)
    }

    fn carry_out(&mut self, effect: Effect) -> io::Result<Option<End>> {
        match effect {
            Effect::Nothing => {}
            Effect::Quit => return Ok(Some(End::Done)),
            Effect::Suspend => self.stop(true)?,
            Effect::Redraw => self.screen.clear()?,
            Effect::Explain(name) => {
                if !self.question(Question::Explain(name.clone())) {
                    self.model
                        .explain(&name, Err("the daemon has not answered the questions before".to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Gives the terminal back, stops, and takes it over again afterwards.
    fn stop(&mut self, group: bool) -> io::Result<()> {
        self.screen.leave();
        events::stop(group)?;
        self.screen.enter()?;
        self.model.is_dirty = true;
        Ok(())
    }
}
