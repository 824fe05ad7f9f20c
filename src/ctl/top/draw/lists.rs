//! A pane: a border with a title, the columns, the rows around the selected one, and a note.

use crate::ctl::top::keys::Pane;
use crate::ctl::top::model::Model;
use crate::ctl::top::panes::{self, Column, Row};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders};

/// Columns between two columns of a list.
const GAP: u16 = 1;
/// The width of a name that other columns make way for.
const NAME: u16 = 20;
/// The width of a name from which on other columns may be wide.
const LONG_NAME: u16 = 28;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model, pane: Pane) {
    let list = panes::list(model, pane);
    let has_focus = model.view.focus == pane;
    let style = if has_focus { model.look.title() } else { Style::new() };
    let title = format!(" {} {} ", pane as usize + 1, list.title);
    let block = Block::new()
        .borders(Borders::ALL)
        .border_set(model.look.border())
        .border_style(if has_focus { style } else { model.look.faint() })
        .title(Line::styled(title, style));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some((head, body)) = split(inner) else { return };
    let widths = widths(list.columns, inner.width);
    let titles: Vec<&str> = list.columns.iter().map(|column| column.title).collect();
    frame.render_widget(Line::styled(line(&titles, list.columns, &widths), model.look.faint()), head);
    let space = usize::from(body.height);
    let selected = model.view.selected(pane);
    // The note has the last line if it would be lost otherwise.
    let rows = space.saturating_sub(usize::from(list.note.is_some()));
    let from = first_shown(selected, rows);
    for (at, row) in list.rows.iter().enumerate().skip(from).take(rows) {
        let place = row_of(body, at - from);
        let text = row_line(row, list.columns, &widths);
        let style = model.look.tone(row.tone);
        let is_selected = has_focus && at == selected;
        let style = if is_selected { style.add_modifier(Modifier::REVERSED) } else { style };
        frame.render_widget(Line::styled(text, style), place);
    }
    if let Some(note) = list.note.filter(|_| space > 0) {
        let at = list.rows.len().saturating_sub(from).min(rows);
        frame.render_widget(Line::styled(note, model.look.faint()), row_of(body, at));
    }
}

/// The line of the titles, and the lines below it.
fn split(inner: Rect) -> Option<(Rect, Rect)> {
    let below = Rect { y: inner.y + 1, height: inner.height.checked_sub(1)?, ..inner };
    Some((Rect { height: 1, ..inner }, below))
}

fn row_of(body: Rect, at: usize) -> Rect {
    Rect { y: body.y + u16::try_from(at).unwrap_or(u16::MAX - body.y), height: 1, ..body }
}

/// The row at the top, so that the selected one is visible.
fn first_shown(selected: usize, rows: usize) -> usize {
    (selected + 1).saturating_sub(rows)
}

/// The width of each column; 0: it is left out.
fn widths(columns: &[Column], space: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = columns.iter().map(|column| column.width).collect();
    let taken =
        |widths: &[u16]| widths.iter().filter(|width| **width > 0).map(|width| width + GAP).sum::<u16>();
    while space.saturating_sub(taken(&widths)) < NAME {
        let shown = (1..widths.len()).filter(|at| widths[*at] > 0 && columns[*at].rank > 0);
        match shown.max_by_key(|at| columns[*at].rank) {
            Some(at) => widths[at] = 0,
            None => break,
        }
    }
    for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.wide > column.width) {
        let free = space.saturating_sub(taken(&widths) + LONG_NAME);
        widths[at] = (column.width + free).min(column.wide);
    }
    let first = space.saturating_sub(taken(&widths));
    if let Some(width) = widths.first_mut() {
        *width = first;
    }
    widths
}

fn row_line(row: &Row, columns: &[Column], widths: &[u16]) -> String {
    let cells: Vec<&str> = row.cells.iter().map(String::as_str).collect();
    line(&cells, columns, widths)
}

/// The cells in their columns. What is too long ends in a tilde.
fn line(cells: &[&str], columns: &[Column], widths: &[u16]) -> String {
    let shown = cells.iter().zip(columns).zip(widths).filter(|(_, width)| **width > 0);
    let cells = shown.map(|((cell, column), width)| {
        let width = usize::from(*width);
        let text = fitted(cell, width);
        if column.is_number { format!("{text:>width$}") } else { format!("{text:<width$}") }
    });
    cells.collect::<Vec<_>>().join(" ")
}

fn fitted(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain(std::iter::once('~')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn column(width: u16, wide: u16, rank: u8) -> Column {
        Column { title: "", width, wide, is_number: width == 5, rank }
    }

    #[test]
    fn some_columns_are_left_out_before_names_are_cut_and_some_grow() {
        let columns = [column(0, 0, 0), column(16, 16, 1), column(5, 5, 0)];
        assert_eq!(widths(&columns, 60), [37, 16, 5]);
        assert_eq!(widths(&columns, 38), [32, 0, 5]);
        assert_eq!(widths(&columns, 3), [0, 0, 5]);
        let columns = [column(0, 0, 0), column(15, 39, 0)];
        assert_eq!(widths(&columns, 36), [20, 15]);
        assert_eq!(widths(&columns, 50), [28, 21]);
        assert_eq!(widths(&columns, 90), [50, 39]);
    }

    #[test]
    fn what_is_too_long_for_its_column_ends_in_a_tilde() {
        let columns = [column(0, 0, 0), column(16, 16, 1), column(5, 5, 0)];
        assert_eq!(line(&["www.example.com.", "1", "2 s"], &columns, &[10, 0, 5]), "www.examp~   2 s");
    }

    #[test]
    fn the_selected_row_is_visible() {
        assert_eq!(
            [first_shown(0, 5), first_shown(4, 5), first_shown(5, 5), first_shown(9, 0)],
            [0, 0, 1, 10]
        );
    }
}
