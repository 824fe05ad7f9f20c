//! `hitherd --check`: checks the configuration and, for root, whether the daemon's own user can
//! read its files.
//!
//! The process becomes that user, opens the files, and exits. Modes alone do not decide: access
//! lists, capabilities and file systems have rules of their own.

use super::{CONFIGURATION, fail};
use crate::config::Config;
use crate::host::files;
use nix::unistd::{User, geteuid, getgrouplist, setegid, seteuid, setgroups};
use std::ffi::CString;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The user that the daemon runs as, by its unit.
const USER: &str = "hither";
/// Directories that the service cannot see, whatever their modes, each with the line of its unit
/// that hides it.
const HIDDEN: [(&str, &str); 7] = [
    ("/home", "ProtectHome="),
    ("/root", "ProtectHome="),
    ("/run/user", "ProtectHome="),
    ("/tmp", "TemporaryFileSystem="),
    ("/var/tmp", "TemporaryFileSystem="),
    ("/dev/shm", "InaccessiblePaths="),
    ("/boot", "InaccessiblePaths="),
];

/// Checks the configuration at `path`, or at its usual place.
pub(crate) fn check(path: Option<&Path>) -> ExitCode {
    let config = match Config::load_with_authorities(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string()),
    };
    let denied = if geteuid().is_root() { denied(&config, path) } else { Vec::new() };
    let mut fatal = false;
    for file in &denied {
        print_error(&file.to_string());
        // The user of a configuration at another path is not known.
        fatal |= file.is_configuration && path.is_none();
    }
    if fatal {
        return ExitCode::from(CONFIGURATION);
    }
    // Standard output may be closed.
    let hints = config.hints().iter().fold(String::new(), |out, hint| format!("{out}hint: {hint}\n"));
    let _ = writeln!(io::stdout(), "{hints}the configuration is right");
    ExitCode::SUCCESS
}

fn print_error(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// A file that the daemon's user cannot read.
struct Denied {
    file: PathBuf,
    is_configuration: bool,
    why: String,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.display();
        let then =
            if self.is_configuration { "hitherd would not start" } else { "hitherd would go on without it" };
        write!(f, "'{file}' cannot be read by user {USER}: {}; {then}", self.why)
    }
}

/// A file that the daemon reads, and the file that its symbolic links lead to.
struct Source {
    file: PathBuf,
    real: PathBuf,
    is_configuration: bool,
}

fn denied(config: &Config, path: Option<&Path>) -> Vec<Denied> {
    let Ok(Some(user)) = User::from_name(USER) else { return Vec::new() };
    let sources = sources(config, path);
    if let Err(error) = become_user(&user) {
        print_error(&format!("cannot check the files that user {USER} can read: {error}"));
        return Vec::new();
    }
    sources.iter().filter_map(try_to_read).collect()
}

/// All files that the daemon reads, as root finds them.
fn sources(config: &Config, path: Option<&Path>) -> Vec<Source> {
    let lists = config.blocks.iter().flat_map(|block| &block.files).chain(&config.hosts.files).cloned();
    let system = config.upstreams.usual.is_empty().then(|| PathBuf::from("/etc/resolv.conf"));
    let configuration = Config::files(path).into_iter().map(|file| (file, true));
    let others = lists.chain(system).chain(config.authorities());
    let all = configuration.chain(others.map(|file| (file, false)));
    // A missing file may be created later.
    all.filter_map(|(file, is_configuration)| {
        let real = std::fs::canonicalize(&file).ok()?;
        Some(Source { file, real, is_configuration })
    })
    .collect()
}

fn become_user(user: &User) -> io::Result<()> {
    let name = CString::new(user.name.as_str()).map_err(io::Error::other)?;
    setgroups(&getgrouplist(&name, user.gid)?)?;
    setegid(user.gid)?;
    seteuid(user.uid)?;
    Ok(())
}

fn try_to_read(source: &Source) -> Option<Denied> {
    let hidden = HIDDEN.iter().find(|(dir, _)| {
        Path::new("/run/systemd/system").exists()
            && [&source.file, &source.real].iter().any(|path| path.starts_with(dir))
    });
    let read = if source.real.is_dir() {
        std::fs::read_dir(&source.real).map(drop)
    } else {
        files::open_regular(&source.file).map(drop)
    };
    let why = match (read, hidden) {
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => because(source, &error),
        (Err(error), _) => error.to_string(),
        (Ok(()), Some((dir, line))) => format!("hitherd.service does not see {dir} ({line})"),
        (Ok(()), None) => return None,
    };
    Some(Denied { file: source.file.clone(), is_configuration: source.is_configuration, why })
}

/// The reason of the error: a directory of the path that the user may not search, else the file's
/// own mode.
fn because(source: &Source, error: &io::Error) -> String {
    for path in [&source.file, &source.real] {
        let mut before: Option<&Path> = None;
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        for step in above {
            match std::fs::symlink_metadata(step) {
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    let directory = before.unwrap_or(Path::new("/")).display();
                    return format!("the directory '{directory}' does not let it through (it lacks x)");
                }
                _ => before = Some(step),
            }
        }
    }
    format!("{error} (the file's own mode)")
}
