//! The terminal: raw mode and the alternate screen, and the way back from them at every end of the
//! program but SIGKILL and SIGBUS, which comes if the owner of the table truncates it.

use super::draw;
use super::model::{Look, Model};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

/// Enters the alternate screen and hides the cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l";
/// Ends a frame, plain characters, the cursor, and the screen that was there before.
const LEAVE: &[u8] = b"\x1b[?2026l\x1b[0m\x1b[?25h\x1b[?1049l";
/// A terminal that understands these shows a frame when all of it has arrived.
const BEGIN_FRAME: &[u8] = b"\x1b[?2026h";
const END_FRAME: &[u8] = b"\x1b[?2026l";
/// Octets of a frame that are written at once; the largest first frames have more.
const BUFFER: usize = 64 << 10;

/// A terminal that shows the view. Dropping it gives the terminal back.
pub(super) struct Screen(Terminal<CrosstermBackend<BufWriter<File>>>);

impl Screen {
    /// Takes the terminal over.
    pub fn open() -> io::Result<Screen> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER, file)))?;
        give_back_at_a_panic();
        let mut screen = Screen(terminal);
        screen.enter()?;
        Ok(screen)
    }

    /// Takes the terminal over again, and forgets what it shows.
    pub fn enter(&mut self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        // The shell may have changed the modes since.
        disable_raw_mode()?;
        enable_raw_mode()?;
        let out = self.0.backend_mut();
        out.write_all(ENTER)?;
        io::Write::flush(out)?;
        self.clear()
    }

    /// Gives the terminal back for a while.
    pub fn leave(&mut self) {
        give_back();
    }

    pub fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.0.backend_mut().write_all(BEGIN_FRAME)?;
        self.0.draw(|frame| draw::draw(frame, model))?;
        let out = self.0.backend_mut();
        out.write_all(END_FRAME)?;
        io::Write::flush(out)
    }

    /// Clears the screen and forgets what it shows. `Terminal::clear` would ask the terminal for the cursor's
    /// position, and the thread of the keys would read the answer.
    pub fn clear(&mut self) -> io::Result<()> {
        let size = self.0.size()?;
        self.0.resize(Rect::new(0, 0, size.width, size.height))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Whether the terminal is in raw mode and shows the alternate screen.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back, once. What fails here cannot be reported: the terminal may be gone.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = nix::unistd::write(io::stdout(), LEAVE);
        let _ = disable_raw_mode();
    }
}

/// A panic is written to the screen that was there before. One of another thread ends the program too.
fn give_back_at_a_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
            if std::thread::current().name() != Some("main") {
                std::process::exit(101);
            }
        }));
    });
}

/// Why there can be no view here; `None` if there can be one.
pub(super) fn obstacle() -> Option<&'static str> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Some(
            "top draws on a terminal, and standard input or output is none; 'hitherctl top --json' prints one report",
        );
    }
    match std::env::var("TERM").as_deref() {
        Err(_) | Ok("" | "dumb" | "unknown") => Some(
            "top needs a terminal that can place text, and TERM names none; 'hitherctl top --json' prints one report",
        ),
        Ok(_) => None,
    }
}

/// What the environment says of the terminal.
pub(super) fn look(no_colour: bool) -> Look {
    let is_set = |key: &str| std::env::var_os(key).is_some_and(|value| !value.is_empty());
    // The first that is set decides, as in locale(7).
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|key| is_set(key));
    let locale = locale.and_then(|key| std::env::var(key).ok()).unwrap_or_default().to_ascii_lowercase();
    Look {
        has_colour: !no_colour && !is_set("NO_COLOR"),
        has_unicode: locale.contains("utf-8") || locale.contains("utf8"),
    }
}
