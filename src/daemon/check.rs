//! `--check`: whether the configuration is right, and, asked by root, what of it the daemon's own user could not read.
//!
//! That is tried and not computed: access lists, capabilities and file systems have their own ways. This process becomes that user for it,
//! and ends afterwards.

use super::{CONFIGURATION, fail};
use crate::config::Config;
use crate::host::files;
use nix::unistd::{User, geteuid, getgrouplist, setegid, seteuid, setgroups};
use std::ffi::CString;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// As whom the units run the daemon.
const USER: &str = "hither";
/// What the service does not see, whatever its modes, and by which line of its unit.
const HIDDEN: [(&str, &str); 7] = [
    ("/home", "ProtectHome="),
    ("/root", "ProtectHome="),
    ("/run/user", "ProtectHome="),
    ("/tmp", "TemporaryFileSystem="),
    ("/var/tmp", "TemporaryFileSystem="),
    ("/dev/shm", "InaccessiblePaths="),
    ("/boot", "InaccessiblePaths="),
];

pub(crate) fn check(path: Option<&Path>) -> ExitCode {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string()),
    };
    let denied = if geteuid().is_root() { denied(&config, path) } else { Vec::new() };
    let mut fatal = false;
    for file in &denied {
        say_error(&file.to_string());
        // Of another file than the unit's nobody knows who is to read it.
        fatal |= file.configuration && path.is_none();
    }
    if fatal {
        return ExitCode::from(CONFIGURATION);
    }
    // Who has closed it does not want to hear it.
    let hints = config.hints().iter().fold(String::new(), |out, hint| format!("{out}hint: {hint}\n"));
    let _ = writeln!(io::stdout(), "{hints}the configuration is right");
    ExitCode::SUCCESS
}

fn say_error(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// A file that the daemon's user cannot read.
struct Denied {
    file: PathBuf,
    configuration: bool,
    why: String,
}

impl std::fmt::Display for Denied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.file.display();
        let then =
            if self.configuration { "hitherd would not start" } else { "hitherd would go on without it" };
        write!(f, "'{file}' cannot be read by user {USER}: {}; {then}", self.why)
    }
}

/// A file that is to be read, with what it leads to.
struct Wanted {
    file: PathBuf,
    real: PathBuf,
    configuration: bool,
}

fn denied(config: &Config, path: Option<&Path>) -> Vec<Denied> {
    let Ok(Some(user)) = User::from_name(USER) else { return Vec::new() };
    let wanted = wanted(config, path);
    if let Err(error) = become_user(&user) {
        say_error(&format!("what user {USER} can read cannot be tried: {error}"));
        return Vec::new();
    }
    wanted.iter().filter_map(try_one).collect()
}

/// Everything that is read by name, as root finds it.
fn wanted(config: &Config, path: Option<&Path>) -> Vec<Wanted> {
    let lists = config.blocks.iter().flat_map(|block| &block.files).chain(&config.hosts.files).cloned();
    let system = config.upstreams.is_empty().then(|| PathBuf::from("/etc/resolv.conf"));
    let configuration = Config::files(path).into_iter().map(|file| (file, true));
    let all = configuration.chain(lists.chain(system).map(|file| (file, false)));
    // One that is missing may come later.
    all.filter_map(|(file, configuration)| {
        let real = std::fs::canonicalize(&file).ok()?;
        Some(Wanted { file, real, configuration })
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

fn try_one(wanted: &Wanted) -> Option<Denied> {
    let hidden = HIDDEN.iter().find(|(dir, _)| {
        Path::new("/run/systemd/system").exists()
            && [&wanted.file, &wanted.real].iter().any(|path| path.starts_with(dir))
    });
    let read = if wanted.real.is_dir() {
        std::fs::read_dir(&wanted.real).map(drop)
    } else {
        files::open_regular(&wanted.file).map(drop)
    };
    let why = match (read, hidden) {
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => because(wanted, &error),
        (Err(error), _) => error.to_string(),
        (Ok(()), Some((dir, line))) => format!("hitherd.service does not see {dir} ({line})"),
        (Ok(()), None) => return None,
    };
    Some(Denied { file: wanted.file.clone(), configuration: wanted.configuration, why })
}

/// Which directory does not let it through, or that it is the file itself.
fn because(wanted: &Wanted, error: &io::Error) -> String {
    for path in [&wanted.file, &wanted.real] {
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
