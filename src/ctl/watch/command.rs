//! The command of `watch --exec`: run by the shell, with the change in its environment.

use super::runs::Changed;
use crate::ctl::entry::rtype;
use crate::ctl::remark;
use hither_client::{Family, Name};
use std::io;
use std::net::IpAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What the command is told, in variables of its environment: nothing of it becomes a part of the line that
/// the shell reads.
pub(super) struct Told {
    pub name: Name,
    pub changed: Changed,
    /// The highest version of the families that are watched; 0 if the table has none.
    pub version: u64,
    /// The addresses of all families that are watched, best first.
    pub addresses: Vec<IpAddr>,
}

/// The commands that run.
pub(super) struct Commands {
    line: String,
    running: Vec<(Name, Child)>,
}

impl Commands {
    pub fn new(line: String) -> Commands {
        Commands { line, running: Vec::new() }
    }

    /// Starts the command.
    ///
    /// # Errors
    /// Why it could not be started: the host has no process or memory left for it.
    pub fn start(&mut self, told: &Told) -> io::Result<()> {
        let addresses: Vec<String> = told.addresses.iter().map(IpAddr::to_string).collect();
        let families = [(told.changed.a, Family::A), (told.changed.aaaa, Family::Aaaa)];
        let families = families.into_iter().filter(|(has_changed, _)| *has_changed);
        let families: Vec<&str> = families.map(|(_, family)| rtype(family)).collect();
        let child = Command::new("/bin/sh")
            .args(["-c", &self.line])
            .env("HITHER_NAME", without_dot(&told.name))
            .env("HITHER_FAMILY", families.join(" "))
            .env("HITHER_VERSION", told.version.to_string())
            .env("HITHER_CAUSE", told.changed.cause.as_str())
            .env("HITHER_ADDRESSES", addresses.join(" "))
            .stdin(Stdio::null())
            .spawn()?;
        self.running.push((told.name, child));
        Ok(())
    }

    /// The names whose commands have ended. A failure is reported.
    pub fn ended(&mut self) -> Vec<Name> {
        let mut ended = Vec::new();
        self.running.retain_mut(|(name, child)| {
            let status = match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) => status,
                // Somebody else has waited for it: it has ended.
                Err(_) => ExitStatus::default(),
            };
            if !status.success() {
                remark(&format!("the command for {name} has failed: {status}"));
            }
            ended.push(*name);
            false
        });
        ended
    }

    /// Whether a command runs.
    pub fn is_running(&self) -> bool {
        !self.running.is_empty()
    }
}

/// A name as programs write it: without the final dot.
fn without_dot(name: &Name) -> String {
    let text = name.to_string();
    text.strip_suffix('.').filter(|text| !text.is_empty()).map_or(text.clone(), str::to_owned)
}
