//! `enable-resolv` and `disable-resolv`: resolv.conf, and who writes it, lead to hitherd, and back.
//!
//! What is to be done is doctor's plan. It is said before it is done, with what it takes away; it is refused where it would leave programs
//! without a name server. Whatever is made bears a name or a mark by which it is found again: there is no list that could be lost.

use super::doctor::{self, Outlook, Plan, Step, plan};
use super::{Context, End, ask, files};
use std::fs::{OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Behind the name of resolv.conf: the file, or the link, as it was.
const BACKUP: &str = "/etc/resolv.conf.hither-backup";

/// Files of our own, and what puts it in force that they are gone; it starts nothing.
const WHOLE: [(&str, &[&str]); 3] = [
    (plan::MANAGER, &["systemctl", "try-reload-or-restart", "NetworkManager.service"]),
    (plan::UPSTREAMS, &["systemctl", "try-reload-or-restart", "hitherd.service"]),
    (plan::RESOLVED, &["systemctl", "try-restart", "systemd-resolved.service"]),
];

/// How it is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Say it and do nothing.
    pub dry_run: bool,
    /// Do it although it is refused.
    pub force: bool,
}

pub(super) fn enable(context: &Context, out: &mut impl Write, root: &Path, how: How) -> Result<End, End> {
    let host = Host::at_root(root)?;
    let outlook = doctor::outlook(context, root);
    let refused = host.refusal(context, &outlook, how);
    let plan = outlook.plan.ok_or_else(|| {
        End::Failed(
            "hitherd listens at no address with port 53, and resolv.conf can name no other".to_owned(),
        )
    })?;
    // What cannot be read is none that leads somewhere, nor one that force helps with.
    let is_unknown = outlook.unreadable.is_some();
    let refused = refused.filter(|_| is_unknown || !how.force && !plan.steps.is_empty());
    if !context.json && !is_unknown {
        print_plan(out, &plan)?;
        // Before anything is done.
        out.flush()?;
    }
    let acts = !how.dry_run && refused.is_none();
    if acts {
        host.try_all(&plan).map_err(End::Failed)?;
        for step in &plan.steps {
            host.take(step).map_err(|why| {
                let back = "'hitherctl disable-resolv' takes back what was done";
                End::Failed(format!("{step}: {why}; {back}"))
            })?;
        }
    }
    if context.json {
        let steps: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        let object = serde_json::json!({
            "steps": steps, "takes_away": plan.takes_away, "refused": refused, "done": acts,
        });
        writeln!(out, "{object}")?;
    }
    refused.map_or(Ok(End::Done), |why| Err(End::Failed(why)))
}

fn print_plan(out: &mut impl Write, plan: &Plan) -> Result<(), End> {
    if plan.steps.is_empty() {
        writeln!(out, "resolv.conf leads to hitherd, and stays so: nothing is to be done")?;
    }
    for step in &plan.steps {
        writeln!(out, "{step}")?;
    }
    for what in &plan.takes_away {
        writeln!(out, "takes away: {what}")?;
    }
    Ok(())
}

pub(super) fn disable(context: &Context, out: &mut impl Write, root: &Path, how: How) -> Result<End, End> {
    let host = Host::at_root(root)?;
    let mut done = Vec::new();
    let outlook = doctor::outlook(context, root);
    let result = host.undo(&outlook, &mut done, how.dry_run);
    if context.json {
        writeln!(out, "{}", serde_json::json!({ "steps": done, "done": !how.dry_run && result.is_ok() }))?;
    } else {
        if done.is_empty() && result.is_ok() {
            writeln!(out, "nothing of hitherctl enable-resolv is there")?;
        }
        for step in &done {
            writeln!(out, "{step}")?;
        }
    }
    result.map(|()| End::Done).map_err(End::Failed)
}

/// A host's files below a root.
struct Host<'r> {
    root: &'r Path,
}

impl Host<'_> {
    fn at_root(root: &Path) -> Result<Host<'_>, End> {
        match root.is_dir() {
            true => Ok(Host { root }),
            false => Err(End::Failed(format!("'{}' is no directory", root.display()))),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Why resolv.conf is better left as it is, and how to go on.
    fn refusal(&self, context: &Context, outlook: &Outlook, how: How) -> Option<String> {
        let start =
            "start it first: systemctl enable --now hitherd.socket hitherd.service hither-sorter.service";
        if let Some(error) = &outlook.unreadable {
            return Some(format!("'{}' cannot be read: {error}; nothing was changed", plan::RESOLV));
        }
        let real = std::fs::canonicalize(self.at(plan::RESOLV)).unwrap_or_default();
        if files::is_of_nixos(&real) {
            return Some("resolv.conf comes from NixOS: set networking.nameservers = [ \"127.0.0.1\" ] in its configuration".to_owned());
        }
        if !outlook.is_served {
            return Some(format!(
                "hitherd does not listen where resolv.conf would lead; {start}; or --force"
            ));
        }
        // Of another host's files nobody can be asked, and what is only to be said starts nothing.
        if self.root == Path::new("/")
            && !(how.dry_run && outlook.would_start)
            && let Err(why) = ask::answering(context)
        {
            return Some(format!(
                "hitherd does not answer: {why}; {start}, 'hitherctl doctor' says more; or --force"
            ));
        }
        None
    }

    /// Whether every file can be written, before the first is.
    fn try_all(&self, plan: &Plan) -> Result<(), String> {
        for step in &plan.steps {
            match step {
                Step::Whole { path, .. } => files::try_to_write(&self.at(path))?,
                Step::Anew { .. } => files::try_to_write(&self.at(plan::RESOLV))?,
                // They change what a link leads to.
                Step::Below { path, .. } => self.try_the_end(path)?,
                Step::Above { .. } => self.try_the_end(plan::RESOLV)?,
                Step::Run(_) => {}
            }
        }
        Ok(())
    }

    fn try_the_end(&self, path: &str) -> Result<(), String> {
        let path = self.at(path);
        files::try_to_write(&std::fs::canonicalize(&path).unwrap_or(path))
    }

    fn take(&self, step: &Step) -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        match step {
            Step::Whole { path, text } => write_whole(&self.at(path), text.as_bytes()).map_err(said),
            Step::Below { path, text } => {
                let more = format!("{}\n{text}", plan::MARK);
                self.change(path, |old| [old, ending(old), more.as_bytes()].concat()).map_err(said)
            }
            Step::Above { line } => {
                self.back_up().map_err(said)?;
                self.change(plan::RESOLV, |old| [line.as_bytes(), b"\n", old].concat()).map_err(said)
            }
            Step::Anew { text } => {
                self.back_up().map_err(said)?;
                write_whole(&self.at(plan::RESOLV), text.as_bytes()).map_err(said)
            }
            Step::Run(words) => run(words),
        }
    }

    /// Changes a file where it leads, with its owner and permissions; it may be missing.
    fn change(&self, path: &str, change: impl Fn(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let path = self.at(path);
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => return write_whole(&path, &change(b"")),
            Err(error) => return Err(error),
        };
        let old = files::read(&real)?;
        files::replace(&real, &old, &change(&old))
    }

    /// Keeps resolv.conf, be it a link, as it is now.
    fn back_up(&self) -> io::Result<()> {
        let (path, backup) = (self.at(plan::RESOLV), self.at(BACKUP));
        match std::fs::remove_file(&backup) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::fs::read_link(&path) {
            Ok(target) => symlink(target, &backup),
            Err(_) => match files::read(&path) {
                Ok(old) => files::create_like(&path, &backup, &old),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Takes back what was made. Everything is tried, whatever fails.
    fn undo(&self, outlook: &Outlook, done: &mut Vec<String>, dry_run: bool) -> Result<(), String> {
        let mut failed = Vec::new();
        let mut act =
            |what: String, act: &dyn Fn() -> Result<(), String>| match if dry_run { Ok(()) } else { act() } {
                Ok(()) => done.push(what),
                Err(why) => failed.push(format!("{what}: {why}")),
            };
        for (path, then) in WHOLE {
            let file = self.at(path);
            if !file.exists() {
                continue;
            }
            // One of this name that the operator wrote among hitherd's own is his.
            if path == plan::UPSTREAMS && !marked(&file) {
                continue;
            }
            act(format!("removed {path}"), &|| remove(&file));
            // Where systemd does not run, nor do they.
            if self.root != Path::new("/") || Path::new("/run/systemd/system").exists() {
                act(format!("run {}", then.join(" ")), &|| run(then));
            }
        }
        for (path, lines) in plan::OTHERS.iter().filter(|(path, _)| marked(&self.at(path))) {
            act(format!("taken out of {path}: what hitherctl enable-resolv added"), &|| {
                self.change(path, |old| without_marked(old, *lines)).map_err(|error| error.to_string())
            });
            if path.contains("resolvconf") && plan::has_resolvconf(self.root) {
                act(format!("run {}", plan::RESOLVCONF.join(" ")), &|| run(plan::RESOLVCONF));
            }
        }
        if let Some((what, how)) = self.way_back(outlook) {
            act(what, &|| self.bring_back(&how).map_err(|error| error.to_string()));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// How resolv.conf leads elsewhere again.
    fn way_back(&self, outlook: &Outlook) -> Option<(String, Back)> {
        let backup = self.at(BACKUP);
        let was = std::fs::symlink_metadata(&backup).ok()?;
        let (path, name) = (self.at(plan::RESOLV), plan::RESOLV);
        let now = files::read(&path).unwrap_or_default();
        let ours =
            |server: IpAddr| server.is_loopback() && !doctor::is_stub(server) || outlook.own == Some(server);
        match first_server(&now) {
            Some(first) if ours(first) => {}
            // Somebody else has written it since.
            Some(_) => {
                return Some((format!("removed {BACKUP}: {name} leads elsewhere by now"), Back::Forget));
            }
            // Somebody has taken it, or its servers, away: the C library asks this host then, where hitherd answers no more.
            None => return Some((format!("{name} is as it was"), Back::Restore)),
        }
        let before = files::read(&backup).ok();
        let rest = without_first_server(&now);
        let untouched = before.as_ref() == Some(&rest);
        let others = first_server(&rest).is_some();
        Some(match (before, was.is_symlink()) {
            // It led to a file that got a line of ours.
            (Some(_), true) if path.is_symlink() => (format!("taken out of {name}: hitherd"), Back::TakeOut),
            (Some(_), true) => (format!("{name} is the link again that it was"), Back::Restore),
            (Some(_), false) if untouched || !others => (format!("{name} is as it was"), Back::Restore),
            _ if others => (format!("taken out of {name}: hitherd"), Back::TakeOut),
            _ => match instead(outlook, &rest) {
                Some(text) => {
                    (format!("{name} names whom hitherd asks: what it led to is gone"), Back::Instead(text))
                }
                None if was.is_symlink() => (format!("{name} is the link again that it was"), Back::Restore),
                None => (
                    format!("{name} leads nowhere else: what it led to is gone; name a server there"),
                    Back::Keep,
                ),
            },
        })
    }

    fn bring_back(&self, how: &Back) -> io::Result<()> {
        let (path, backup) = (self.at(plan::RESOLV), self.at(BACKUP));
        match how {
            Back::Restore => std::fs::rename(&backup, &path),
            Back::TakeOut => {
                self.change(plan::RESOLV, without_first_server)?;
                std::fs::remove_file(&backup)
            }
            Back::Forget => std::fs::remove_file(&backup),
            Back::Instead(text) => {
                write_whole(&path, text)?;
                std::fs::remove_file(&backup)
            }
            Back::Keep => Err(io::Error::other("nothing was changed")),
        }
    }
}

/// What becomes of resolv.conf.
enum Back {
    Restore,
    TakeOut,
    Forget,
    Instead(Vec<u8>),
    Keep,
}

/// The upstreams that resolv.conf can name, above what is no server there.
fn instead(outlook: &Outlook, rest: &[u8]) -> Option<Vec<u8>> {
    let can = |server: &&SocketAddr| server.port() == 53 && !server.ip().is_loopback();
    let servers = outlook.upstreams.iter().filter(can).take(3);
    let lines: String = servers.map(|server| format!("nameserver {}\n", doctor::written(server))).collect();
    (!lines.is_empty()).then(|| [lines.as_bytes(), rest].concat())
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|octet| *octet == b'\n')
}

fn server_of(line: &[u8]) -> Option<IpAddr> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let server = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
    server.split('%').next()?.parse().ok()
}

fn first_server(text: &[u8]) -> Option<IpAddr> {
    lines(text).find_map(server_of)
}

fn without_first_server(text: &[u8]) -> Vec<u8> {
    let first = lines(text).position(|line| server_of(line).is_some());
    lines(text).enumerate().filter(|(n, _)| Some(*n) != first).flat_map(|(_, line)| line).copied().collect()
}

/// Without our mark and so many lines below it.
fn without_marked(text: &[u8], below: usize) -> Vec<u8> {
    let mut ours = 0;
    let kept = lines(text).filter(|line| {
        if line.trim_ascii_end() == plan::MARK.as_bytes() {
            ours = below + 1;
        }
        let keep = ours == 0;
        ours = ours.saturating_sub(1);
        keep
    });
    kept.flatten().copied().collect()
}

fn marked(path: &Path) -> bool {
    files::text(path).is_ok_and(|text| text.is_some_and(|text| text.contains(plan::MARK)))
}

/// What ends the last line.
fn ending(text: &[u8]) -> &'static [u8] {
    if text.last().is_none_or(|last| *last == b'\n') { b"" } else { b"\n" }
}

/// A file that everybody may read, in the place of whatever is there, a link included.
fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        std::fs::create_dir(dir)?;
        std::fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    let new = files::beside(path, &format!(".hither-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let put = file.write_all(text).and_then(|()| file.set_permissions(Permissions::from_mode(0o644)));
    let put = put.and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&new, path));
    if put.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    put
}

fn remove(path: &Path) -> Result<(), String> {
    std::fs::remove_file(path).map_err(|error| error.to_string())?;
    // The directory may have been made for it; one that has more stays.
    let _ = path.parent().map(std::fs::remove_dir);
    Ok(())
}

fn run(words: &[&str]) -> Result<(), String> {
    let [program, rest @ ..] = words else { return Ok(()) };
    let output = Command::new(program).args(rest).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("'{program}' cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("it fails: {}", said.lines().next().unwrap_or("without a word")))
}
