//! Undoes the changes of `enable-resolv`.

use super::apply::{run, write_file};
use super::text::{first_server, without_first_server, without_marked};
use super::{BACKUP, Host};
use crate::ctl::doctor::{self, Outlook, plan};
use crate::ctl::files;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Files that `enable-resolv` creates, and the command to run after their removal. It starts no service.
const OWN_FILES: [(&str, &[&str]); 3] = [
    (plan::MANAGER, &["systemctl", "try-reload-or-restart", "NetworkManager.service"]),
    (plan::UPSTREAMS, &["systemctl", "try-reload-or-restart", "hitherd.service"]),
    (plan::RESOLVED, &["systemctl", "try-restart", "systemd-resolved.service"]),
];

impl Host<'_> {
    /// Undoes all changes that are found. A failure does not keep it from the others. Adds a line
    /// for each change to `done`.
    pub fn undo(&self, outlook: &Outlook, done: &mut Vec<String>, dry_run: bool) -> Result<(), String> {
        let mut failed = Vec::new();
        let mut act =
            |what: String, act: &dyn Fn() -> Result<(), String>| match if dry_run { Ok(()) } else { act() } {
                Ok(()) => done.push(what),
                Err(why) => failed.push(format!("{what}: {why}")),
            };
        for (path, then) in OWN_FILES {
            let file = self.at(path);
            if !file.exists() {
                continue;
            }
            // Without the mark, a file of this name is the operator's own.
            if path == plan::UPSTREAMS && !is_marked(&file) {
                continue;
            }
            act(format!("removed {path}"), &|| remove(&file));
            // Without systemd their services do not run.
            if self.root != Path::new("/") || Path::new("/run/systemd/system").exists() {
                act(format!("run {}", then.join(" ")), &|| run(then));
            }
        }
        for (path, lines) in plan::OTHERS.iter().filter(|(path, _)| is_marked(&self.at(path))) {
            act(format!("removed from {path}: the lines of hitherctl enable-resolv"), &|| {
                self.change(path, |old| without_marked(old, *lines)).map_err(|error| error.to_string())
            });
            if path.contains("resolvconf") && plan::has_resolvconf(self.root) {
                act(format!("run {}", plan::RESOLVCONF.join(" ")), &|| run(plan::RESOLVCONF));
            }
        }
        if let Some((what, how)) = self.restoration(outlook) {
            act(what, &|| self.restore(&how).map_err(|error| error.to_string()));
        }
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// How resolv.conf is restored, with a line for the operator; `None` without a backup.
    fn restoration(&self, outlook: &Outlook) -> Option<(String, Restoration)> {
        let backup = self.at(BACKUP);
        let was = std::fs::symlink_metadata(&backup).ok()?;
        let (path, name) = (self.at(plan::RESOLV), plan::RESOLV);
        let now = files::read(&path).unwrap_or_default();
        let ours =
            |server: IpAddr| server.is_loopback() && !doctor::is_stub(server) || outlook.own == Some(server);
        match first_server(&now) {
            Some(first) if ours(first) => {}
            // Another program has written it since.
            Some(_) => {
                return Some((
                    format!("removed {BACKUP}: {name} names other servers by now"),
                    Restoration::RemoveBackup,
                ));
            }
            // The file has no server, or is gone: the C library would send queries to this host, where
            // hitherd will not reply.
            None => return Some((format!("{name} is as it was"), Restoration::FromBackup)),
        }
        let before = files::read(&backup).ok();
        let rest = without_first_server(&now);
        let untouched = before.as_ref() == Some(&rest);
        let others = first_server(&rest).is_some();
        Some(match (before, was.is_symlink()) {
            // The target of the link got our line.
            (Some(_), true) if path.is_symlink() => {
                (format!("removed from {name}: hitherd"), Restoration::RemoveOurLine)
            }
            (Some(_), true) => (format!("{name} is its earlier link again"), Restoration::FromBackup),
            (Some(_), false) if untouched || !others => {
                (format!("{name} is as it was"), Restoration::FromBackup)
            }
            _ if others => (format!("removed from {name}: hitherd"), Restoration::RemoveOurLine),
            _ => match upstream_lines(outlook, &rest) {
                Some(text) => (
                    format!("{name} names hitherd's upstreams: its earlier target is gone"),
                    Restoration::Upstreams(text),
                ),
                None if was.is_symlink() => {
                    (format!("{name} is its earlier link again"), Restoration::FromBackup)
                }
                None => (
                    format!("{name} names no other server: its earlier target is gone; name a server there"),
                    Restoration::Keep,
                ),
            },
        })
    }

    fn restore(&self, how: &Restoration) -> io::Result<()> {
        let (path, backup) = (self.at(plan::RESOLV), self.at(BACKUP));
        match how {
            Restoration::FromBackup => std::fs::rename(&backup, &path),
            Restoration::RemoveOurLine => {
                self.change(plan::RESOLV, without_first_server)?;
                std::fs::remove_file(&backup)
            }
            Restoration::RemoveBackup => std::fs::remove_file(&backup),
            Restoration::Upstreams(text) => {
                write_file(&path, text)?;
                std::fs::remove_file(&backup)
            }
            Restoration::Keep => Err(io::Error::other("nothing was changed")),
        }
    }
}

/// How resolv.conf is restored.
enum Restoration {
    /// The backup replaces resolv.conf.
    FromBackup,
    /// Our line is removed.
    RemoveOurLine,
    /// resolv.conf is left alone, and the backup is removed.
    RemoveBackup,
    /// resolv.conf gets this text, which names hitherd's upstreams.
    Upstreams(Vec<u8>),
    /// There is no server to name: resolv.conf is left as it is.
    Keep,
}

/// Lines for the upstreams that resolv.conf can name, and the rest of the file below; `None`
/// without such an upstream.
fn upstream_lines(outlook: &Outlook, rest: &[u8]) -> Option<Vec<u8>> {
    let can_be_named = |server: &&SocketAddr| server.port() == 53 && !server.ip().is_loopback();
    let servers = outlook.upstreams.iter().filter(can_be_named).take(3);
    let lines: String = servers.map(|server| format!("nameserver {}\n", doctor::written(server))).collect();
    (!lines.is_empty()).then(|| [lines.as_bytes(), rest].concat())
}

/// Whether a file has the mark of `enable-resolv`.
fn is_marked(path: &Path) -> bool {
    files::text(path).is_ok_and(|text| text.is_some_and(|text| text.contains(plan::MARK)))
}

/// Removes a file, and its directory if that is empty then.
fn remove(path: &Path) -> Result<(), String> {
    std::fs::remove_file(path).map_err(|error| error.to_string())?;
    // The directory may have been created for the file.
    let _ = path.parent().map(std::fs::remove_dir);
    Ok(())
}
