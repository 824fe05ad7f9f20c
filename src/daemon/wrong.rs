//! A configuration that is wrong when the daemon starts. That start fails, which whoever began it sees. The service manager begins another
//! one, and that serves what needs no configuration: names of hosts files, what is cached already, and SERVFAIL for all others, so that who
//! asks goes on at once to a server that knows, and does not wait at a socket that nobody reads. It ends when the configuration is right.

use crate::config::{Config, DROP_INS_MAX, FILE};
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::local::Wanted;
use crate::daemon::setup::make_runtime_dir;
use crate::host::files;
use crate::logging::Event;
use hither_local::Local;
use hither_net::clock;
use hither_rounds::Input;
use hither_table::Monotonic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a start that failed leaves in the runtime directory for the next one: when it was.
const MARK: &str = "refused";
/// How soon the service manager begins the next one; whoever starts it later is to see it fail again.
const SOON: Duration = Duration::from_secs(300);
/// How often the configuration is read again, beside whenever it changes, and the log told.
const EVERY: Duration = Duration::from_secs(60);

/// Whether to serve without: when this is a service manager's next start, and it holds the sockets. Otherwise the start is to fail.
pub(crate) fn serves(dir: &Path) -> bool {
    let is = |name: &str, expected: &str| std::env::var(name).is_ok_and(|value| value == expected);
    let holds = is("LISTEN_PID", &std::process::id().to_string()) && !is("LISTEN_FDS", "0");
    if !holds || std::env::var_os("NOTIFY_SOCKET").is_none() {
        return false;
    }
    let failed = files::read_up_to(&dir.join(MARK), 64)
        .ok()
        .and_then(|text| str::from_utf8(&text).ok()?.trim().parse::<u64>().ok());
    let now = clock::now().0;
    if failed.is_some_and(|failed| now.saturating_sub(failed) < SOON.as_nanos() as u64) {
        return true;
    }
    // Where nothing can be left to the next one, that would fail too, and so on.
    std::fs::write(dir.join(MARK), now.to_string()).is_err()
}

/// The configuration, if it is one that can be started with.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn load(path: Option<&Path>) -> Result<Config, Wrong> {
    let config = Config::load(path).map_err(|error| Wrong { why: error.to_string(), is_written: true })?;
    make_runtime_dir(&config.runtime_dir).map_err(|why| Wrong { why, is_written: false })?;
    Ok(config)
}

/// Why it cannot be started with.
pub(crate) struct Wrong {
    pub why: String,
    /// It is wrong as it is written, and not for what the host lacks.
    pub is_written: bool,
}

/// The next start that finds the configuration wrong is to fail.
pub(crate) fn forget(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(MARK));
}

/// What is served while the configuration is wrong, because of `why`. Nothing is saved: what was saved before stays.
pub(crate) fn without(why: String) -> Config {
    Config { wrong: Some(why), save: Duration::ZERO, ..Config::default() }
}

/// The configuration's files.
pub(crate) fn files(path: Option<&Path>) -> Vec<PathBuf> {
    let main = path.unwrap_or(Path::new(FILE));
    let mut drop_ins = main.as_os_str().to_owned();
    drop_ins.push(".d");
    let drop_ins = PathBuf::from(drop_ins);
    // With more it is refused, and the directory itself is followed too.
    let within = files::entries(&drop_ins, DROP_INS_MAX).map(|entries| entries.names).unwrap_or_default();
    let mut files: Vec<PathBuf> = within.into_iter().map(|name| drop_ins.join(name)).collect();
    files.extend([main.to_owned(), drop_ins]);
    files
}

impl Daemon {
    /// Reads a configuration that was wrong again: it has changed, or it is time.
    pub(crate) fn look_at_configuration(&mut self, changed: bool, now: Monotonic) {
        let Some(known) = &self.config.wrong else { return };
        // One that is being begun with is not begun with anew for the time alone: it may be large.
        if !changed && (self.reload.due > now || self.reload.mended.is_some()) {
            return;
        }
        // The first time it is about what was changed before that was followed: the log has been told already.
        let is_first = self.reload.due == Monotonic(0);
        self.reload.due = now.plus(EVERY);
        match load(self.path.as_deref()) {
            Ok(config) => self.mended(config, now),
            Err(Wrong { why, .. }) => {
                if !changed && !is_first || why != *known {
                    log::error!(
                        event = Event::ConfigurationRefused, reason:% = why;
                        "names that are not known already are answered SERVFAIL, for the configuration is wrong: {why}"
                    );
                }
                self.config.wrong = Some(why.clone());
                self.unmended(&why);
            }
        }
    }

    pub(crate) fn configuration_timeout(&self) -> Option<Monotonic> {
        (self.config.wrong.is_some() && self.reload.mended.is_none()).then_some(self.reload.due)
    }

    /// The configuration is right. It is taken once what it names has been read: before there is anybody to ask, so that what is blocked is
    /// not asked for, as at any start; and meanwhile what needs no configuration is served on.
    pub(crate) fn mended(&mut self, config: Config, now: Monotonic) {
        let wanted = Wanted::of(&config, &self.files);
        self.loader.begin(wanted.clone());
        if self.loader.is_busy() {
            self.reload.has_begun();
            self.reload.mended = Some(Box::new(config));
        } else {
            // There is no thread to read in.
            let local = Arc::new(self.loader.load(&wanted));
            self.begin_with(config, Some(local), now);
        }
    }

    /// Everything that a start does and a reload does not is done now. `local`: what is answered here, if that is another than before.
    pub(crate) fn begin_with(&mut self, config: Config, local: Option<Arc<Local>>, now: Monotonic) {
        if let Some(local) = local {
            self.tell(now, Input::Local { local });
        }
        self.take(config, now);
        forget(&self.config.runtime_dir);
        let is_new = self.room.is_new;
        let found = crate::daemon::persist::restore::found(&self.config, is_new, self.core.table());
        self.begin_keeping(found, is_new);
        if !self.loader.is_busy() {
            self.reloaded();
        }
    }

    /// The configuration is wrong again before what it named was read: all stays as it is, and who waited for it is told `why`.
    pub(crate) fn unmended(&mut self, why: &str) {
        if self.reload.mended.take().is_none() {
            return;
        }
        self.loader.begin(Wanted::changed(&self.config, &self.files));
        self.reload.failed(&mut self.control, why);
        let status = self.status_line();
        self.manager.ready(&status);
    }
}
