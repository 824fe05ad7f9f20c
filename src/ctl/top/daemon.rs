//! Asks the daemon, in a thread of its own: a daemon that hangs does not stop the view.

use super::events::{Event, Sender};
use super::model::Heard;
use crate::ctl::{Context, End, ask, explain};
use hither_client::Name;
use hither_control::{Request, Response};
use hither_net::clock::now;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Builder;
use std::time::Duration;

/// The timeout of a question: the daemon answers at once.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Questions that wait. The view asks for the next sample after the answer to the last one.
const QUESTIONS_MAX: usize = 8;

/// What the view asks.
#[derive(Debug)]
pub(super) enum Question {
    /// The state of the daemon and of its rounds.
    Sample,
    /// All about a name in presentation form.
    Explain(String),
}

/// The answer to a question.
#[derive(Debug)]
pub(super) enum Answer {
    Sample(Box<Heard>),
    Explained { name: String, page: Result<String, String> },
}

/// Starts the thread, which ends with the queue that this returns.
pub(super) fn start(context: Context, answers: Sender) -> std::io::Result<SyncSender<Question>> {
    let (questions, queue) = mpsc::sync_channel(QUESTIONS_MAX);
    Builder::new().name("daemon".to_owned()).spawn(move || answer_all(&context, &queue, &answers))?;
    Ok(questions)
}

fn answer_all(context: &Context, questions: &Receiver<Question>, answers: &Sender) {
    for question in questions {
        let answer = match question {
            Question::Sample => Answer::Sample(Box::new(sample(context))),
            Question::Explain(name) => Answer::Explained { page: explained(context, &name), name },
        };
        if !answers.send(Event::Answer(answer)) {
            return;
        }
    }
}

/// One sample.
pub(super) fn sample(context: &Context) -> Heard {
    let status = match ask::ask(context, &Request::Status, TIMEOUT) {
        Ok(Response::Status(status)) => Ok(status),
        Ok(_) => Err(message(ask::unexpected())),
        Err(end) => Err(message(end)),
    };
    let asked = match &status {
        // A daemon that does not answer is not asked twice.
        Err(why) => Err(why.clone()),
        Ok(_) => match ask::ask(context, &Request::Top {}, TIMEOUT) {
            Ok(Response::Top(report)) => Ok(*report),
            Ok(_) => Err(message(ask::unexpected())),
            Err(end) => Err(message(end)),
        },
    };
    Heard { at: now(), status, asked }
}

fn explained(context: &Context, name: &str) -> Result<String, String> {
    let name: Name = name.parse().map_err(|error| format!("'{name}' is not a name: {error}"))?;
    explain::text(context, &name).map_err(message)
}

fn message(end: End) -> String {
    match end {
        End::Failed(message) => message,
        End::Done | End::NotInTheTable | End::DoesNotExist => "the daemon does not answer".to_owned(),
    }
}
