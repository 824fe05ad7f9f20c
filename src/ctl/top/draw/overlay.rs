//! Pages over the panes: the keys, and what `explain` says; and the line at the foot.

use crate::ctl::explain::clean;
use crate::ctl::top::model::{Look, Model, Overlay};
use crate::ctl::top::panes::Tone;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Wrap};

/// The keys, also for the manual page.
pub(super) const KEYS: [(&str, &str); 12] = [
    ("up down k j", "move within a pane; also page up, page down, home, end"),
    ("tab, 1 to 5", "go to the next pane, or to one of them"),
    ("enter", "explain the selected name; r reads it again, esc goes back"),
    ("s", "sort the pane by something else"),
    ("/", "show only names with a text; esc shows all"),
    ("p, space", "pause: nothing is read or asked"),
    ("u", "units instead of names: who asked what needed a round"),
    ("ctrl-l", "draw the screen again"),
    ("ctrl-z", "stop; fg comes back"),
    ("?", "these keys"),
    ("q, ctrl-c", "end"),
    ("", ""),
];
const TIMES: &str = "Times to answer are of the replies of the latest ten seconds, shares of upstreams too. \
Names are estimated by the daemon from a sample. Changes and addresses out of reach are those since the view \
began. Programs that read the table ask nobody and are not counted.";

/// What `explain` says of a name.
pub(super) struct Page<'m> {
    pub name: &'m str,
    pub text: Option<&'m Result<String, String>>,
    pub scrolled: usize,
}

fn block(title: String, look: Look) -> Block<'static> {
    Block::new()
        .borders(Borders::ALL)
        .border_set(look.border())
        .border_style(look.title())
        .title(Line::styled(title, look.title()))
}

pub(super) fn help(frame: &mut Frame<'_>, area: Rect, look: Look) {
    let mut lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| {
            Line::from(vec![Span::styled(format!("{key:<14}"), look.title()), Span::raw(*what)])
        })
        .collect();
    lines.push(Line::from(TIMES));
    let page = Paragraph::new(Text::from(lines)).wrap(Wrap { trim: true });
    frame.render_widget(page.block(block(" Keys ".to_owned(), look)), area);
}

pub(super) fn explained(frame: &mut Frame<'_>, area: Rect, page: &Page<'_>, look: Look) {
    let (text, tone) = match page.text {
        None => ("the daemon is asked".to_owned(), Tone::Faint),
        Some(Ok(text)) => (text.clone(), Tone::Plain),
        Some(Err(why)) => (clean(why), Tone::Bad),
    };
    // Only the lines that are visible are laid out.
    let lines: Vec<Line<'_>> = text
        .lines()
        .skip(page.scrolled)
        .take(usize::from(area.height))
        .map(|line| Line::styled(line.to_owned(), look.tone(tone)))
        .collect();
    let block = block(format!(" {} ", clean(page.name)), look);
    let paragraph = Paragraph::new(Text::from(lines)).wrap(Wrap { trim: false });
    frame.render_widget(paragraph.block(block), area);
}

/// The line at the foot: the filter, or the keys that matter.
pub(super) fn foot(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let view = &model.view;
    let line = match &model.overlay {
        _ if view.is_typing => Line::from(format!("filter: {}_", clean(&view.filter))),
        Overlay::Explained { .. } => {
            Line::styled("esc back  up down scroll  r again  ctrl-c end", model.look.faint())
        }
        Overlay::Help => Line::styled("any key goes back", model.look.faint()),
        Overlay::None => {
            let mut spans = Vec::new();
            if !view.filter.is_empty() {
                let text = format!("only names with '{}' (esc: all)  ", clean(&view.filter));
                spans.push(Span::styled(text, model.look.tone(Tone::Warning)));
            }
            let keys = "q end  tab pane  enter explain  s sort  / filter  p pause  u units  ? help";
            spans.push(Span::styled(keys, model.look.faint()));
            Line::from(spans)
        }
    };
    frame.render_widget(line, area);
}
