//! Carries out the steps of a plan.

use super::text::line_end;
use super::{BACKUP, Host};
use crate::ctl::doctor::{Plan, Step, plan};
use crate::ctl::files;
use std::fs::{OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

impl Host<'_> {
    /// Checks that every file of the plan can be written, before the first one is.
    pub fn check_writable(&self, plan: &Plan) -> Result<(), String> {
        for step in &plan.steps {
            match step {
                Step::Create { path, .. } => files::try_to_write(&self.at(path))?,
                Step::Replace { .. } => files::try_to_write(&self.at(plan::RESOLV))?,
                // These change the target of a link.
                Step::Append { path, .. } => self.check_target(path)?,
                Step::Prepend { .. } => self.check_target(plan::RESOLV)?,
                Step::Run(_) => {}
            }
        }
        Ok(())
    }

    fn check_target(&self, path: &str) -> Result<(), String> {
        let path = self.at(path);
        files::try_to_write(&std::fs::canonicalize(&path).unwrap_or(path))
    }

    /// Carries out one step.
    pub fn apply(&self, step: &Step) -> Result<(), String> {
        let text_of = |error: io::Error| error.to_string();
        match step {
            Step::Create { path, text } => write_file(&self.at(path), text.as_bytes()).map_err(text_of),
            Step::Append { path, text } => {
                let more = format!("{}\n{text}", plan::MARK);
                self.change(path, |old| [old, line_end(old), more.as_bytes()].concat()).map_err(text_of)
            }
            Step::Prepend { line } => {
                self.back_up().map_err(text_of)?;
                self.change(plan::RESOLV, |old| [line.as_bytes(), b"\n", old].concat()).map_err(text_of)
            }
            Step::Replace { text } => {
                self.back_up().map_err(text_of)?;
                write_file(&self.at(plan::RESOLV), text.as_bytes()).map_err(text_of)
            }
            Step::Run(words) => run(words),
        }
    }

    /// Changes a file, or the target of a link, and keeps its owner and permissions. A missing file
    /// is created.
    pub fn change(&self, path: &str, change: impl Fn(&[u8]) -> Vec<u8>) -> io::Result<()> {
        let path = self.at(path);
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => return write_file(&path, &change(b"")),
            Err(error) => return Err(error),
        };
        let old = files::read(&real)?;
        files::replace(&real, &old, &change(&old))
    }

    /// Copies resolv.conf, or the link that it is, to the backup.
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
}

/// Creates or replaces a file that all users may read. A link is replaced, not followed.
pub(super) fn write_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
    for dir in missing.into_iter().rev() {
        std::fs::create_dir(dir)?;
        std::fs::set_permissions(dir, Permissions::from_mode(0o755))?;
    }
    let new = files::beside(path, &format!(".hither-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let written = file.write_all(text).and_then(|()| file.set_permissions(Permissions::from_mode(0o644)));
    let written = written.and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&new, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Runs a command, and fails with the first line of its error output.
pub(super) fn run(words: &[&str]) -> Result<(), String> {
    let [program, rest @ ..] = words else { return Ok(()) };
    let output = Command::new(program).args(rest).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("'{program}' cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("it fails: {}", errors.lines().next().unwrap_or("without a message")))
}
