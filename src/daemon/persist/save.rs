//! Writes the table's address sets to the file `cache`, in a thread that reads the table like any
//! other process.

use crate::daemon::thread_results::send_result;
use hither_rounds::Routes;
use hither_saved::{AGE_MARGIN, Clocks, Header, Link, OCTETS_MAX, Set, USUAL_MAX, Writer};
use hither_table::layout::SITE_ROUNDS;
use hither_table::{Family, FamilyView, Monotonic, Reader, Snapshot, State};
use hither_wire::name::Name;
use mio::Waker;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

/// The file in the state directory.
pub(crate) const FILE: &str = "cache";
/// The name under which it is written, and then renamed.
const NEW_FILE: &str = "cache.new";

/// The inputs of a save.
#[derive(Debug)]
pub(crate) struct Job {
    pub reader: Reader,
    pub routes: Routes,
    /// Marks of the usual upstreams, by which a later start recognises them.
    pub usual: Vec<u64>,
    pub dir: PathBuf,
    /// The time from which the remaining lifetimes are counted.
    pub now: Clocks,
    /// Whether to sync the file to the disk, so that a power failure loses neither it nor the
    /// previous one. Without a sync its checksum reveals the loss.
    pub sync: bool,
}

/// The result of a save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Done {
    pub sets: u64,
    /// Whether there were more sets than a file may hold.
    pub cut: bool,
}

/// The counts of a save, or why it failed. After a failure the previous file is unchanged.
pub(crate) type Outcome = Result<Done, String>;

/// Starts the thread that saves. One runs at a time.
#[derive(Debug)]
pub(crate) struct Saver {
    waker: Arc<Waker>,
    results: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    busy: bool,
}

impl Saver {
    /// A saver whose thread wakes the event loop by `waker`.
    pub fn new(waker: Arc<Waker>) -> Saver {
        Saver { waker, results: mpsc::channel(), busy: false }
    }

    /// Whether a save is running.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Starts to save. To be called only when no save is running.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn begin(&mut self, job: Job) -> Result<(), String> {
        let (sender, waker) = (self.results.0.clone(), Arc::clone(&self.waker));
        let work = move || send_result(&sender, &waker, save(&job));
        let thread = std::thread::Builder::new().name("save".to_owned()).spawn(work);
        self.busy = thread.is_ok();
        thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// The result of the save, once it has ended.
    pub fn take(&mut self) -> Option<Outcome> {
        let result = self.results.1.try_recv().ok()?;
        self.busy = false;
        Some(result)
    }
}

/// Removes the incomplete file of a save that the daemon does not wait for.
pub(crate) fn remove_incomplete(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(NEW_FILE));
}

fn save(job: &Job) -> Outcome {
    let (new, path) = (job.dir.join(NEW_FILE), job.dir.join(FILE));
    let cannot = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| format!("cannot {what} '{}': {error}", path.display())
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&job.dir).map_err(cannot("create", &job.dir))?;
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot("remove", &new)(error)),
        _ => {}
    }
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&new);
    let file = file.map_err(cannot("create", &new))?;
    let done = write(job, &file).map_err(cannot("write", &new));
    if done.is_err() {
        // An incomplete file is useless, and takes space on a full disk.
        let _ = std::fs::remove_file(&new);
    }
    let done = done?;
    std::fs::rename(&new, &path).map_err(cannot("rename the new file to", &path))?;
    Ok(done)
}

fn write(job: &Job, file: &File) -> io::Result<Done> {
    let mut usual = [0; USUAL_MAX];
    usual.iter_mut().zip(&job.usual).for_each(|(saved, mark)| *saved = *mark);
    let header = Header { saved_ms: job.now.wall_ms, version: job.reader.version(), usual };
    let mut writer = Writer::begin(BufWriter::with_capacity(1 << 16, file), &header)?;
    let now = Monotonic::from_ms(job.now.boot_ms);
    let (mut entry, mut cut) = (Box::new(Snapshot::new()), false);
    let mut entries = job.reader.entries();
    // What other hosts have learned is theirs to keep. A flush begins other rounds while this thread reads.
    let before = job.reader.site_rounds();
    let is_own = |view: &FamilyView<'_>| {
        let was_of_site = before != 0 && view.round().wrapping_sub(before) < SITE_ROUNDS;
        !was_of_site && !job.reader.is_of_site(view.round())
    };
    while !cut && entries.next(&mut entry) {
        let Ok(name) = Name::from_wire(entry.name()) else { continue };
        for family in [Family::A, Family::Aaaa] {
            let view = entry.family(family).filter(is_own);
            if let Some(set) = view.and_then(|view| set(name, family, &view, now)) {
                writer.add(&Set { route: job.routes.mark(&name), ..set })?;
            }
        }
        cut = writer.octets() > OCTETS_MAX - (1 << 20);
    }
    let sets = writer.sets();
    writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    if job.sync {
        file.sync_data()?;
    }
    Ok(Done { sets, cut })
}

/// The set of a family to save. None if it has no addresses or expires too soon to be restored.
fn set(name: Name, family: Family, view: &FamilyView<'_>, now: Monotonic) -> Option<Set> {
    let left = |expire_ms: u64| expire_ms.saturating_sub(now.as_ms());
    let left_ms = left(view.expire_ms());
    if view.negative().is_some() || view.is_empty() || u128::from(left_ms) <= AGE_MARGIN.as_millis() {
        return None;
    }
    let link = |(target, expire_ms): (&[u8], u64)| {
        Some(Link { target: Name::from_wire(target).ok()?, left_ms: left(expire_ms) })
    };
    let chain = |n: u8| view.chain(n).map(link).collect::<Option<Vec<Link>>>();
    Some(Set {
        name,
        family,
        route: 0,
        complete: view.state() == State::Complete,
        sorted: view.sorted(),
        left_ms,
        lifetime_s: view.lifetime_s(),
        agreement: view.agreement(),
        addresses: view.addresses().collect(),
        chains: (0..view.chain_count()).map(chain).collect::<Option<Vec<_>>>()?,
    })
}
