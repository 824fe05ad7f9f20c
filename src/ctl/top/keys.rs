//! Keys: the pane that has the focus, its selected row, its sorting, the filter; and what a key asks of the
//! program around the model.

use super::model::{Model, Overlay};
use super::panes::{self, Row};

/// Rows that a page key moves over.
const PAGE: usize = 10;
/// Characters of a filter: a name in presentation form is not longer.
const FILTER_MAX: usize = 1024;

/// One of the lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pane {
    Upstreams,
    Asked,
    Rounds,
    Changed,
    Lost,
}

impl Pane {
    /// In the order of the tab key.
    pub const ALL: [Pane; 5] = [Pane::Upstreams, Pane::Asked, Pane::Rounds, Pane::Changed, Pane::Lost];

    fn moved(self, by: usize) -> Pane {
        Pane::ALL[(self as usize + by) % Pane::ALL.len()]
    }
}

/// A key, whatever terminal it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Backspace,
    Interrupt,
    Suspend,
    Redraw,
    Char(char),
}

/// What a key asks of the program around the model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Nothing,
    Quit,
    Suspend,
    /// Clear the screen and draw all of it.
    Redraw,
    /// Ask the daemon to explain a name.
    Explain(String),
}

/// The part of the view that keys change.
#[derive(Debug)]
pub(super) struct View {
    pub focus: Pane,
    cursors: [Cursor; 5],
    sorts: [usize; 5],
    /// Only names with this text are shown.
    pub filter: String,
    /// Whether keys go to the filter.
    pub is_typing: bool,
    /// Units instead of names.
    pub by_unit: bool,
}

/// The selected row of a pane, by what it is about: rows move.
#[derive(Clone, Debug, Default)]
struct Cursor {
    at: usize,
    about: Option<String>,
}

impl View {
    pub fn new(by_unit: bool) -> View {
        View {
            focus: Pane::Asked,
            cursors: Default::default(),
            sorts: [0; 5],
            filter: String::new(),
            is_typing: false,
            by_unit,
        }
    }

    /// The number of the selected row of a pane.
    pub fn selected(&self, pane: Pane) -> usize {
        self.cursors[pane as usize].at
    }

    /// Which of its orders a pane has.
    pub fn sort(&self, pane: Pane) -> usize {
        self.sorts[pane as usize]
    }
}

impl Model {
    /// Puts each cursor onto its row after the rows have changed.
    pub fn keep_cursors(&mut self) {
        for pane in Pane::ALL {
            let rows = panes::list(self, pane).rows;
            let cursor = &mut self.view.cursors[pane as usize];
            let found = cursor.about.as_ref().and_then(|about| {
                // The row of the same name may stand more than once; the nearest is meant.
                let same = |(_, row): &(usize, &Row)| row.key == *about;
                rows.iter().enumerate().filter(same).map(|(at, _)| at).min_by_key(|at| at.abs_diff(cursor.at))
            });
            // Without a choice of the reader the cursor stays at the top.
            cursor.at = found.unwrap_or(cursor.at).min(rows.len().saturating_sub(1));
        }
    }

    /// Takes a key, and returns what the program has to do.
    pub fn key(&mut self, key: Key) -> Effect {
        self.is_dirty = true;
        match (key, &self.overlay) {
            (Key::Interrupt, _) => Effect::Quit,
            (Key::Suspend, _) => Effect::Suspend,
            (Key::Redraw, _) => Effect::Redraw,
            (_, Overlay::None) if self.view.is_typing => self.type_filter(key),
            (Key::Char('q'), Overlay::None) => Effect::Quit,
            (_, Overlay::None) => self.command(key),
            (_, Overlay::Help) => {
                self.overlay = Overlay::None;
                Effect::Nothing
            }
            (_, Overlay::Explained { .. }) => self.scroll(key),
        }
    }

    fn type_filter(&mut self, key: Key) -> Effect {
        match key {
            Key::Escape => {
                self.view.filter.clear();
                self.view.is_typing = false;
            }
            Key::Enter | Key::Tab => self.view.is_typing = false,
            Key::Backspace => {
                self.view.filter.pop();
            }
            Key::Char(c) if self.view.filter.len() < FILTER_MAX && !c.is_control() => {
                self.view.filter.push(c);
            }
            _ => {}
        }
        self.keep_cursors();
        Effect::Nothing
    }

    fn command(&mut self, key: Key) -> Effect {
        match key {
            Key::Tab => self.view.focus = self.view.focus.moved(1),
            Key::BackTab => self.view.focus = self.view.focus.moved(Pane::ALL.len() - 1),
            Key::Char(digit @ '1'..='5') => self.view.focus = Pane::ALL[digit as usize - '1' as usize],
            Key::Up | Key::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.select(|at, _| at + 1),
            Key::PageUp => self.select(|at, _| at.saturating_sub(PAGE)),
            Key::PageDown => self.select(|at, _| at + PAGE),
            Key::Home | Key::Char('g') => self.select(|_, _| 0),
            Key::End | Key::Char('G') => self.select(|_, last| last),
            Key::Char('s') => {
                let sort = &mut self.view.sorts[self.view.focus as usize];
                *sort = (*sort + 1) % panes::orders(self.view.focus).len();
                self.keep_cursors();
            }
            Key::Char('/') => self.view.is_typing = true,
            Key::Escape => {
                self.view.filter.clear();
                self.keep_cursors();
            }
            Key::Char('p' | ' ') => self.pause(!self.is_paused),
            Key::Char('u') => {
                self.view.by_unit = !self.view.by_unit;
                self.view.cursors[Pane::Asked as usize] = Cursor::default();
            }
            Key::Char('?' | 'h') => self.overlay = Overlay::Help,
            Key::Enter => return self.open(),
            _ => self.is_dirty = false,
        }
        Effect::Nothing
    }

    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let pane = self.view.focus;
        let rows = panes::list(self, pane).rows;
        let last = rows.len().saturating_sub(1);
        let cursor = &mut self.view.cursors[pane as usize];
        cursor.at = to(cursor.at, last).min(last);
        // At the top the cursor stays there when rows move.
        cursor.about = rows.get(cursor.at).filter(|_| cursor.at > 0).map(|row| row.key.clone());
    }

    /// Opens the page of the selected name.
    fn open(&mut self) -> Effect {
        let list = panes::list(self, self.view.focus);
        let row = list.rows.into_iter().nth(self.view.selected(self.view.focus));
        let Some(name) = row.and_then(|row| row.name) else { return Effect::Nothing };
        self.overlay = Overlay::Explained { name: name.clone(), text: None, scrolled: 0 };
        Effect::Explain(name)
    }

    fn scroll(&mut self, key: Key) -> Effect {
        let Overlay::Explained { name, text, scrolled } = &mut self.overlay else { return Effect::Nothing };
        let lines = text.iter().flatten().map(|text| text.lines().count()).sum::<usize>();
        let last = lines.saturating_sub(1);
        *scrolled = match key {
            Key::Up | Key::Char('k') => scrolled.saturating_sub(1),
            Key::Down | Key::Char('j') => *scrolled + 1,
            Key::PageUp => scrolled.saturating_sub(PAGE),
            Key::PageDown | Key::Char(' ') => *scrolled + PAGE,
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => last,
            // The page again, as it is now.
            Key::Char('r') => return Effect::Explain(name.clone()),
            Key::Escape | Key::Char('q') | Key::Enter | Key::Backspace => {
                self.overlay = Overlay::None;
                return Effect::Nothing;
            }
            _ => *scrolled,
        }
        .min(last);
        Effect::Nothing
    }
}
