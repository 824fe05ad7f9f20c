//! `hitherctl top` as people use it: in a terminal of tmux, with a real daemon, by keys and screens.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{Daemon, PATIENCE, Upstream, answer, skip, until};

const CTL: &str = env!("CARGO_BIN_EXE_hitherctl");
const PROMPT: &str = "ready$ ";

/// A terminal with a shell, at a server of tmux of its own, which ends with it.
struct Tmux {
    socket: String,
    dir: PathBuf,
}

static TERMINALS: AtomicUsize = AtomicUsize::new(0);

impl Tmux {
    /// `None` without tmux; then the test is skipped.
    fn start(test: &str, dir: &Path, environment: &str) -> Option<Tmux> {
        if !Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        {
            skip(test, "tmux is not installed");
            return None;
        }
        let n = TERMINALS.fetch_add(1, Ordering::SeqCst);
        let socket = format!("hither-test-{}-{n}", std::process::id());
        let tmux = Tmux { socket, dir: dir.to_owned() };
        let shell =
            format!("env -u NO_COLOR LC_ALL=C.UTF-8 PS1='{PROMPT}' {environment} bash --norc --noprofile -i");
        let at = dir.display().to_string();
        tmux.run(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", &at, &shell]);
        tmux.wait(|screen| screen.contains(PROMPT.trim()));
        // What the terminal is like before, for a comparison.
        tmux.line("stty -g > before; echo saved");
        tmux.wait(|screen| screen.lines().any(|line| line == "saved"));
        Some(tmux)
    }

    fn run(&self, args: &[&str]) -> String {
        let mut command = Command::new("tmux");
        let output = command.args(["-L", &self.socket]).args(args).output();
        String::from_utf8_lossy(&output.expect("tmux runs").stdout).into_owned()
    }

    /// Types keys, by their names in tmux.
    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// Types a line into the shell.
    fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Polls the screen until it is as it should be.
    fn wait(&self, holds: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "the screen is never as it should be:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(|screen| screen.contains(text))
    }

    fn view(&self, options: &str) {
        let run = self.dir.join("run");
        self.line(&format!("clear; {CTL} --runtime-dir {} top {options}; echo status $?", run.display()));
        self.wait_for("Asked most");
    }

    /// The process of the view: the child of the terminal's shell.
    fn process(&self) -> Pid {
        let shell = self.run(&["display-message", "-p", "#{pane_pid}"]);
        let shell = shell.trim();
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = std::fs::read_to_string(path).expect("the shell runs");
        Pid::from_raw(children.trim().parse().expect("one child"))
    }

    /// The view has ended, and the terminal is as it was: main screen, cursor, modes.
    fn assert_sane(&self, how: &str, status: &str) {
        let screen = self.wait(|screen| screen.contains(status));
        assert!(!screen.contains("Upstreams"), "{how}: the alternate screen is left:\n{screen}");
        let format = "#{alternate_on} #{cursor_flag}";
        assert_eq!(self.run(&["display-message", "-p", format]).trim(), "0 1", "{how}");
        self.line("clear; stty -g > after; cmp before after && echo same");
        self.wait(|screen| screen.lines().any(|line| line == "same"));
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// An upstream that answers with one address, and never for names that begin with `silent`.
fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let is_silent = query.get(13..19) == Some(&b"silent"[..]);
        if is_silent { Vec::new() } else { vec![(0, answer(query, &[1], 300))] }
    })
}

#[test]
fn panes_show_what_happens_and_keys_work() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let Some(tmux) = Tmux::start("panes_show_what_happens_and_keys_work", &daemon.dir, "") else { return };
    tmux.view("--interval 0.1");
    tmux.wait_for(&format!("process {}", daemon.process.id()));
    tmux.wait_for(&upstream.address.to_string());
    for name in ["one.example", "two.example", "evil\\027[2J.example"] {
        daemon.ask(name);
    }
    tmux.wait(|screen| {
        ["one.example.", "two.example.", "evil\\027[2j"].iter().all(|own| screen.contains(own))
    });
    // The filter, also of what comes later.
    tmux.keys(&["/", "t", "w", "o"]);
    tmux.wait(|screen| screen.contains("filter: two") && !screen.contains("one.example."));
    tmux.keys(&["Enter"]);
    tmux.wait_for("only names with 'two'");
    tmux.keys(&["Escape"]);
    tmux.wait_for("one.example.");
    // By name, the first one is explained, and back.
    tmux.keys(&["4", "s"]);
    tmux.wait_for("Changed, by name");
    tmux.keys(&["Down", "Enter"]);
    tmux.wait(|screen| screen.contains("one.example. A: from the cache") && screen.contains("esc back"));
    tmux.keys(&["Escape"]);
    tmux.wait_for("Changed, by name");
    // What happens during a pause is passed over.
    tmux.keys(&["p"]);
    tmux.wait_for("PAUSED");
    daemon.ask("while.example");
    tmux.keys(&["p"]);
    tmux.wait(|screen| !screen.contains("PAUSED"));
    daemon.ask("xafter.example");
    tmux.wait(|screen| screen.contains("xafter.example.") && !screen.contains("while.example. "));
    tmux.keys(&["?"]);
    tmux.wait_for("any key goes back");
    tmux.keys(&["x", "q"]);
    tmux.assert_sane("q", "status 0");
}

#[test]
fn every_size_has_its_arrangement() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let Some(tmux) = Tmux::start("every_size_has_its_arrangement", &daemon.dir, "") else { return };
    tmux.view("");
    tmux.run(&["resize-window", "-x", "120", "-y", "40"]);
    let wide = |screen: &str, width| {
        screen.lines().any(|line| line.starts_with('┌') && line.chars().count() == width)
    };
    tmux.wait(|screen| {
        wide(screen, 120) && screen.lines().nth(39).is_some_and(|line| line.contains("q end"))
    });
    tmux.run(&["resize-window", "-x", "200", "-y", "60"]);
    tmux.wait(|screen| wide(screen, 200));
    tmux.run(&["resize-window", "-x", "70", "-y", "20"]);
    tmux.wait(|screen| screen.contains("Asked most") && !screen.contains("Upstreams"));
    tmux.run(&["resize-window", "-x", "50", "-y", "10"]);
    tmux.wait_for("This terminal is 50 x 10.");
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.wait(|screen| wide(screen, 80));
    tmux.keys(&["C-c"]);
    tmux.assert_sane("Ctrl-C", "status 0");
}

#[test]
fn the_terminal_is_given_back_however_the_view_ends() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let name = "the_terminal_is_given_back_however_the_view_ends";
    let Some(tmux) = Tmux::start(name, &daemon.dir, "HITHER_TOP_PANIC=1") else { return };
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        tmux.view("");
        kill(tmux.process(), signal).expect("it runs");
        tmux.assert_sane(signal.as_str(), "status 0");
    }
    // A planted panic, which only programs for tests have.
    tmux.view("");
    tmux.keys(&["!"]);
    tmux.assert_sane("panic", "status 101");
}

#[test]
fn the_view_stops_and_comes_back() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let Some(tmux) = Tmux::start("the_view_stops_and_comes_back", &daemon.dir, "") else { return };
    tmux.view("");
    let process = tmux.process();
    for how in ["key", "signal", "stopped without notice"] {
        match how {
            "key" => tmux.keys(&["C-z"]),
            "signal" => kill(process, Signal::SIGTSTP).expect("it runs"),
            _ => kill(process, Signal::SIGSTOP).expect("it runs"),
        }
        tmux.wait_for("Stopped");
        if how != "stopped without notice" {
            tmux.assert_sane(how, "Stopped");
        }
        tmux.line("clear; fg");
        tmux.wait(|screen| screen.contains("Asked most") && screen.contains("Upstreams"));
        daemon.ask(&format!("after-{}.example", how.len()));
        tmux.wait_for(&format!("after-{}.example.", how.len()));
    }
    tmux.keys(&["q"]);
    tmux.wait(|screen| screen.contains(PROMPT.trim()) && !screen.contains("Upstreams"));
    tmux.assert_sane("q", PROMPT.trim());
}

#[test]
fn a_daemon_that_hangs_dies_and_returns_is_shown() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let dir = daemon.dir.clone();
    let Some(tmux) = Tmux::start("a_daemon_that_hangs_dies_and_returns_is_shown", &dir, "") else { return };
    tmux.run(&["resize-window", "-x", "200", "-y", "24"]);
    tmux.view("--interval 0.2");
    daemon.ask("www.example");
    tmux.wait_for("www.example.");
    daemon.signal(Signal::SIGSTOP);
    let screen = tmux.wait_for("the table alone: ");
    assert!(screen.contains("hang") && screen.contains("www.example."), "{screen}");
    tmux.keys(&["?"]);
    tmux.wait_for("any key goes back");
    tmux.keys(&["?"]);
    daemon.signal(Signal::SIGCONT);
    tmux.wait(|screen| screen.contains("up ") && !screen.contains("the table alone"));
    daemon.signal(Signal::SIGKILL);
    tmux.wait_for("which was killed");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hitherd"));
    let second = Daemon::spawn(dir, command.arg("--config").arg(daemon.dir.join("hither.toml")));
    tmux.wait(|screen| {
        screen.contains(&format!("process {}", second.process.id())) && !screen.contains("killed")
    });
    second.ask("again.example");
    tmux.wait_for("again.example.");
    tmux.keys(&["q"]);
    tmux.assert_sane("q", "status 0");
}

#[test]
fn without_a_daemon_the_view_waits_for_one() {
    let dir = support::directory();
    let Some(tmux) = Tmux::start("without_a_daemon_the_view_waits_for_one", &dir, "") else { return };
    tmux.view("--interval 0.1");
    tmux.wait_for("cannot be read");
    let upstream = upstream();
    let daemon = Daemon::start_in(dir, &[&upstream], "");
    tmux.wait_for(&format!("process {}", daemon.process.id()));
    tmux.keys(&["q"]);
    tmux.assert_sane("q", "status 0");
}

#[test]
fn a_terminal_that_goes_away_ends_the_view() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    for before in ["", "trap '' HUP; "] {
        let name = "a_terminal_that_goes_away_ends_the_view";
        let Some(tmux) = Tmux::start(name, &daemon.dir, "") else { return };
        tmux.line(&format!("{before}true"));
        tmux.view("");
        let process = tmux.process();
        drop(tmux);
        until("the view ends", || kill(process, None).is_err());
    }
}

/// Whether a captured screen sets a colour.
fn has_colour(screen: &str) -> bool {
    let codes = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m')).map(|(codes, _)| codes);
    codes.flat_map(|codes| codes.split(';')).any(|code| {
        code.parse::<u32>().is_ok_and(|code| matches!(code, 30..=38 | 40..=48 | 90..=97 | 100..=107))
    })
}

#[test]
fn no_color_is_obeyed() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    for (environment, options, expected) in
        [("", "", true), ("NO_COLOR=1", "", false), ("", "--no-color", false)]
    {
        let Some(tmux) = Tmux::start("no_color_is_obeyed", &daemon.dir, environment) else { return };
        tmux.view(options);
        // A name of its own: what the cache has is no change.
        let name = format!("name{}{}.example", environment.len(), options.len());
        daemon.ask(&name);
        tmux.wait_for(&format!("{name}."));
        let screen = tmux.run(&["capture-pane", "-e", "-p"]);
        assert_eq!(has_colour(&screen), expected, "{environment} {options}: {screen:?}");
    }
}

#[test]
fn where_it_cannot_draw_it_says_what_to_do_and_json_works() {
    let upstream = upstream();
    let daemon = Daemon::start(&[&upstream], "");
    let piped = daemon.ctl(&["top"]);
    let why = String::from_utf8_lossy(&piped.stderr).into_owned();
    assert!(
        piped.status.code() == Some(1) && why.contains("hitherctl top --json") && piped.stdout.is_empty(),
        "{why}"
    );
    daemon.ask("www.example");
    let output = daemon.ctl(&["--json", "top", "--interval", "0.2"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!((output.status.code(), text.lines().count()), (Some(0), 1), "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["pid"], daemon.process.id());
    assert_eq!(report["upstreams"][0]["address"], upstream.address.to_string());
    assert!(report["queries_per_s"].is_number() && report["daemon_problem"].is_null(), "{report}");
    for wrong in ["0", "61", "-1", "NaN", "x"] {
        assert_eq!(daemon.ctl(&["top", "--interval", wrong]).status.code(), Some(2), "{wrong}");
    }
    let Some(tmux) = Tmux::start("where_it_cannot_draw…", &daemon.dir, "TERM=dumb") else { return };
    tmux.line(&format!("{CTL} --runtime-dir run top; echo status $?"));
    tmux.wait(|screen| screen.contains("TERM names none") && screen.contains("status 1"));
}
