//! The frame: which panes there are on a screen of a given size, and what lies over them.

mod head;
mod lists;
mod overlay;
mod style;

use super::keys::Pane;
use super::model::{Model, Overlay};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::widgets::Paragraph;

/// The smallest screen.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 15;
/// The smallest screen with all panes; a smaller one has the pane with the focus.
const ALL_WIDTH: u16 = 80;
const ALL_HEIGHT: u16 = 24;
/// From this width on there are three columns of panes.
const WIDE: u16 = 160;
/// Rows of the title and the rates.
const HEAD: u16 = 4;

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let is = format!("{} x {}", area.width, area.height);
        let text =
            format!("This terminal is {is}.\nhitherctl top needs {WIDTH_MIN} x {HEIGHT_MIN}.\nq ends it.");
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let [top, body, foot] =
        Layout::vertical([Constraint::Length(HEAD), Constraint::Min(0), Constraint::Length(1)]).areas(area);
    head::draw(frame, top, model);
    match &model.overlay {
        Overlay::None => {
            for (pane, area) in places(body, model) {
                lists::draw(frame, area, model, pane);
            }
        }
        Overlay::Help => overlay::help(frame, body, model.look),
        Overlay::Explained { name, text, scrolled } => {
            let page = overlay::Page { name, text: text.as_ref(), scrolled: *scrolled };
            overlay::explained(frame, body, &page, model.look);
        }
    }
    overlay::foot(frame, foot, model);
}

/// Where each pane is.
fn places(body: Rect, model: &Model) -> Vec<(Pane, Rect)> {
    if body.width < ALL_WIDTH || body.height + HEAD + 1 < ALL_HEIGHT {
        return vec![(model.view.focus, body)];
    }
    let known = match &model.daemon.status {
        Some(Ok(status)) => status.upstreams.len(),
        _ => 1,
    };
    // A border and a head line around the rows.
    let rows = u16::try_from(known).unwrap_or(u16::MAX).saturating_add(3);
    if body.width >= WIDE {
        let [left, middle, right] = Layout::horizontal([Constraint::Fill(1); 3]).areas(body);
        let rows = rows.clamp(5, body.height / 2);
        let [upstreams, rounds] =
            Layout::vertical([Constraint::Length(rows), Constraint::Min(0)]).areas(left);
        let [changed, lost] = Layout::vertical([Constraint::Fill(2), Constraint::Fill(1)]).areas(right);
        return vec![
            (Pane::Upstreams, upstreams),
            (Pane::Asked, middle),
            (Pane::Rounds, rounds),
            (Pane::Changed, changed),
            (Pane::Lost, lost),
        ];
    }
    let rows = rows.clamp(5, body.height / 3);
    let [upstreams, above, below] =
        Layout::vertical([Constraint::Length(rows), Constraint::Fill(1), Constraint::Fill(1)]).areas(body);
    let halves = Layout::horizontal([Constraint::Fill(1); 2]);
    let ([asked, rounds], [changed, lost]) = (halves.areas(above), halves.areas(below));
    vec![
        (Pane::Upstreams, upstreams),
        (Pane::Asked, asked),
        (Pane::Rounds, rounds),
        (Pane::Changed, changed),
        (Pane::Lost, lost),
    ]
}
