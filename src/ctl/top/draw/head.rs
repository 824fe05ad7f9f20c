//! The title, the rates with their graphs, and what is wrong.

use crate::ctl::explain::clean;
use crate::ctl::top::model::{Look, Model};
use crate::ctl::top::panes::{Tone, micros, percent, rate};
use hither_control::counted;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Sparkline;
use std::collections::VecDeque;

/// Columns of the words before and behind a graph.
const WORDS: u16 = 20;
const TIMES: u16 = 27;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let [title, queries, hits, rounds] = Layout::vertical([Constraint::Length(1); 4]).areas(area);
    frame.render_widget(Line::from(title_line(model)), title);
    let rates = &model.traffic.rates;
    let time = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), micros);
    let (values, behind) = (&model.traffic.queries, format!("half within   {:>11}", time(rates.p50_us)));
    Graph { what: "queries", rate: rates.queries, values, behind }.draw(frame, queries, model.look);
    let (values, behind) = (&model.traffic.hits, format!("99 % within   {:>11}", time(rates.p99_us)));
    Graph { what: "hits", rate: rates.hits, values, behind }.draw(frame, hits, model.look);
    let open = counted(rates.rounds_open, "round open", "rounds open");
    let share = rates.hit_share.map_or_else(String::new, |share| format!(", hit rate {}", percent(share)));
    let text =
        format!("{open}, {} begun, {} published{share}", rate(rates.rounds_begun), rate(rates.publishes));
    frame.render_widget(Line::from(text), rounds);
}

/// A line with a word, a rate, its graph, and a time behind it.
struct Graph<'m> {
    what: &'static str,
    rate: f64,
    values: &'m VecDeque<u64>,
    behind: String,
}

impl Graph<'_> {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect, look: Look) {
        let widths = [Constraint::Length(WORDS), Constraint::Min(0), Constraint::Length(TIMES)];
        let [words, graph, times] = Layout::horizontal(widths).areas(area);
        frame.render_widget(Line::from(format!("{:<8}{:>10}  ", self.what, rate(self.rate))), words);
        // The latest values, at the right.
        let (width, known) = (usize::from(graph.width), self.values.len());
        let mut shown = vec![None; width.saturating_sub(known)];
        shown.extend(self.values.iter().skip(known.saturating_sub(width)).copied().map(Some));
        let line = Sparkline::default().data(shown).bar_set(look.bars()).style(look.graph());
        frame.render_widget(line.absent_value_symbol(" "), graph);
        frame.render_widget(Line::from(format!("  {}", self.behind)), times);
    }
}

fn title_line(model: &Model) -> Vec<Span<'static>> {
    let mut line = vec![Span::styled("hither top", model.look.title()), Span::raw("  ")];
    if model.is_paused {
        line.push(Span::styled("PAUSED  ", model.look.tone(Tone::Warning)));
    }
    match &model.table {
        Ok(table) => {
            let entries = counted(table.entries, "entry", "entries");
            line.push(Span::raw(format!("process {}, {entries}", table.pid)));
            if let Some(problem) = &table.problem {
                line.push(Span::styled(format!(", {}", clean(problem)), model.look.tone(Tone::Bad)));
            }
        }
        Err(why) => line.push(Span::styled(clean(why), model.look.tone(Tone::Bad))),
    }
    match &model.daemon.status {
        Some(Err(why)) if model.table.is_ok() => {
            let text = format!(", the table alone: {}", clean(why));
            line.push(Span::styled(text, model.look.tone(Tone::Bad)));
        }
        Some(Ok(status)) => line.push(Span::raw(match &status.problems[..] {
            [] => format!(", up {}", span(status.uptime_s)),
            [problem, ..] => format!(", problem: {}", clean(problem)),
        })),
        _ => {}
    }
    if let Ok(table) = &model.table
        && let Some(remark) = &table.remark
    {
        line.push(Span::styled(format!(" ({remark})"), model.look.faint()));
    }
    line
}

/// A time in the unit that fits it.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
