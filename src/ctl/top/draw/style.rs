//! Colours and lines, for terminals with and without them.

use crate::ctl::top::model::Look;
use crate::ctl::top::panes::Tone;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::{bar, border};

const ASCII_BORDER: border::Set<'static> = border::Set {
    top_left: "+",
    top_right: "+",
    bottom_left: "+",
    bottom_right: "+",
    vertical_left: "|",
    vertical_right: "|",
    horizontal_top: "-",
    horizontal_bottom: "-",
};
const ASCII_BARS: bar::Set<'static> = bar::Set {
    full: "#",
    seven_eighths: "#",
    three_quarters: "=",
    five_eighths: "=",
    half: "-",
    three_eighths: "-",
    one_quarter: "_",
    one_eighth: "_",
    empty: " ",
};

impl Look {
    pub fn border(self) -> border::Set<'static> {
        if self.has_unicode { border::PLAIN } else { ASCII_BORDER }
    }

    pub fn bars(self) -> bar::Set<'static> {
        if self.has_unicode { bar::NINE_LEVELS } else { ASCII_BARS }
    }

    /// A style that has a colour where there are colours, and always the modifier.
    fn style(self, colour: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self.has_colour { style.fg(colour) } else { style }
    }

    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Plain => Style::new(),
            Tone::Good => self.style(Color::Green, Modifier::empty()),
            Tone::Warning => self.style(Color::Yellow, Modifier::empty()),
            Tone::Bad => self.style(Color::Red, Modifier::BOLD),
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
        }
    }

    pub fn title(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
    }

    pub fn graph(self) -> Style {
        self.style(Color::Blue, Modifier::empty())
    }

    pub fn faint(self) -> Style {
        self.tone(Tone::Faint)
    }
}
