//! The table of the configured size, or what there is room for instead, until there is more.

use crate::config::{Config, ENTRIES};
use crate::daemon::event_loop::Daemon;
use crate::daemon::reload::containers;
use crate::daemon::setup::{make_runtime_dir, tell_of_directory};
use crate::host::files::identity;
use crate::logging::Event;
use hither_net::clock::now;
use hither_net::random::Random;
use hither_table::paths::{LOCK_FILE, TABLE_FILE};
use hither_table::{
    Geometry, Held, Monotonic, Opened, Origin, Writer, first_version, names_of, open_as_it_fits, usual,
};
use std::path::Path;
use std::time::Duration;

/// How often it is looked whether there is room for the table that is wanted.
const EVERY: Duration = Duration::from_secs(60);

/// What the table is, and falls short of.
#[derive(Debug)]
pub(crate) struct Room {
    lock: Option<Held>,
    wanted: Geometry,
    /// Nothing was taken over at the start.
    pub is_new: bool,
    /// Why the table is not the one that is wanted.
    short: Option<String>,
    /// Which files the table and the lock are; none: they are not there for others.
    files: [Option<(u64, u64)>; 2],
    /// When all that is looked at again.
    due: Monotonic,
}

/// Which files are in the places of the table and the lock.
fn files(is_shared: bool, dir: &Path) -> [Option<(u64, u64)>; 2] {
    [TABLE_FILE, LOCK_FILE].map(|name| is_shared.then(|| identity(&dir.join(name))).flatten())
}

fn wanted(entries: Option<usize>, dir: &Path) -> Geometry {
    Geometry { entries: entries.unwrap_or_else(|| usual(dir, ENTRIES)) }
}

fn seeds(random: &mut Random) -> [u64; 3] {
    [random.draw(), random.draw(), random.draw()]
}

/// The table: a predecessor's, or a new one, which is told.
pub(crate) fn table(config: &Config, random: &mut Random) -> Result<(Writer, Room), String> {
    #[allow(clippy::disallowed_methods)] // Once, to begin versions above those of a table that was lost.
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let dir = &config.runtime_dir;
    // Nobody knows how large it should be: as it is.
    let as_it_is = || config.wrong.as_ref().and_then(|_| names_of(dir));
    let wanted = wanted(config.table_entries.or_else(as_it_is), dir);
    let opened = open_as_it_fits(dir, &wanted, config.table_mode, seeds(random), first_version(wall));
    let opened = opened.map_err(|error| format!("there is no table: {error}"))?;
    tell_of_directory(dir);
    tell(&opened, &wanted, dir);
    let Opened { writer, origin, lock, short } = opened;
    let is_new = matches!(origin, Origin::Created | Origin::Replaced { .. });
    let short = short.map(|why| why.to_string());
    let files = files(writer.is_shared(), dir);
    Ok((writer, Room { lock, wanted, is_new, short, files, due: now().plus(EVERY) }))
}

fn tell(opened: &Opened, wanted: &Geometry, dir: &Path) {
    let (writer, dir) = (&opened.writer, dir.display());
    let entries = writer.capacity();
    if let Some(why) = &opened.short {
        log::warn!(
            event = Event::TableNotResized, reason:% = why, entries = entries;
            "{}; a table for {} names takes its place when there is room: {why}",
            instead(writer.is_shared(), entries),
            wanted.entries
        );
    }
    match &opened.origin {
        Origin::Created if !writer.is_shared() => {}
        Origin::Created => log::info!(
            event = Event::TableCreated, entries = entries;
            "a new table for {entries} names is in '{dir}'"
        ),
        Origin::Adopted => log::info!(
            event = Event::TableTakenOver, entries = writer.entries();
            "the table in '{dir}' is taken over: about {} entries",
            writer.entries()
        ),
        Origin::Resized => log::info!(
            event = Event::TableResized, entries = entries;
            "the table in '{dir}' had another size: a new one for {entries} names takes its entries over"
        ),
        Origin::Replaced { why } => log::warn!(
            event = Event::TableRefused, reason:% = why;
            "the table that was in '{dir}' is replaced by a new one: {why}"
        ),
    }
}

/// What there is in place of the table that is wanted.
fn instead(is_shared: bool, capacity: usize) -> String {
    if is_shared {
        format!("the table has room for {capacity} names only")
    } else {
        "the table cannot be shared: other programs ask hitherd instead of reading it".to_owned()
    }
}

impl Daemon {
    /// Another table where the configuration asks for another size or mode; without it, the one that is there stays.
    pub(crate) fn resize(&mut self, config: &Config) {
        self.look_after_files();
        let wanted = wanted(config.table_entries, &self.config.runtime_dir);
        let same = wanted.words() == self.room.wanted.words() && config.table_mode == self.config.table_mode;
        if same && self.room.short.is_none() {
            return;
        }
        self.room.wanted = wanted;
        self.make_table(config.table_mode);
    }

    /// Looks now and then whether the table that is wanted can be had by now.
    pub(crate) fn look_for_room(&mut self, now: Monotonic) {
        if self.room.due > now {
            return;
        }
        self.room.due = now.plus(EVERY);
        self.look_after_files();
        let is_short = self.room.short.is_some();
        let table = self.core.table();
        if is_short && table.is_there_more_room(&self.config.runtime_dir, &self.room.wanted) {
            self.make_table(self.config.table_mode);
            self.clients.brief_workers(self.core.rounds());
        }
    }

    /// Makes anew what others have taken away from the runtime directory, or could not be made.
    pub(crate) fn look_after_files(&mut self) {
        let dir = self.config.runtime_dir.clone();
        let is_shared = self.core.table().is_shared();
        let is_lost = is_shared && self.room.files != files(is_shared, &dir);
        if is_lost {
            self.room.due = now().plus(EVERY);
            log::warn!(
                event = Event::TableRefused, reason = "its file is gone or another";
                "the table in '{}' has been taken away: a new one takes its entries over",
                dir.display()
            );
            if let Err(why) = make_runtime_dir(&dir) {
                log::error!("{why}");
            }
            // That of a file that is gone keeps nobody out.
            self.room.lock = None;
            self.make_table(self.config.table_mode);
            containers::offer(&self.config, &self.core.rounds().routes().usual, &self.files);
            self.clients.brief_workers(self.core.rounds());
        }
        // Where another daemon has the lock by now, the sockets are its own.
        if self.room.lock.is_some() || !self.core.table().is_shared() {
            self.control.bind_again(&dir, self.poll.registry());
            self.hints.bind_again(&dir, self.poll.registry());
            self.look_after_versions();
        }
    }

    pub(crate) fn room_timeout(&self) -> Option<Monotonic> {
        let is_short = self.room.short.is_some() || self.control.problems().next().is_some();
        is_short.then_some(self.room.due)
    }

    fn make_table(&mut self, mode: u32) {
        let (room, dir) = (&mut self.room, &self.config.runtime_dir);
        let mut table = self.core.table();
        let made = Random::new().map_err(|error| format!("the kernel gives no random numbers: {error}"));
        let made = made.and_then(|mut random| {
            table
                .rotate_as_it_fits(&mut room.lock, dir, (&room.wanted, mode), seeds(&mut random))
                .map_err(|error| error.to_string())
        });
        match made {
            Ok(short) => {
                self.hints.bind_again(dir, self.poll.registry());
                room.short = short.map(|why| why.to_string());
                room.files = files(table.is_shared(), dir);
                let (entries, wanted) = (table.capacity(), room.wanted.entries);
                match &room.short {
                    None => log::info!(
                        event = Event::TableResized, entries = entries;
                        "a table for {entries} names takes the place of the old one"
                    ),
                    Some(why) => log::warn!(
                        event = Event::TableNotResized, reason:% = why, entries = entries;
                        "a table for {entries} names takes the place of the old one, one for {wanted} when there is room: {why}"
                    ),
                }
            }
            Err(why) => {
                log::error!(event = Event::TableNotResized, reason:% = why; "the table stays as it is: {why}");
                room.short = Some(why);
            }
        }
    }

    /// What is not as the configuration wants it, and why, for who asks.
    pub(crate) fn problems(&mut self) -> Vec<String> {
        let refused = self.reload.refused.as_ref();
        let refused =
            refused.map(|why| format!("an older configuration is in force, for the new one is wrong: {why}"));
        let wrong = self.config.wrong.as_ref().map(|why| {
            format!("names that are not known already are answered SERVFAIL, for the configuration is wrong: {why}")
        });
        let short = self.room.short.clone();
        let table = self.core.table();
        let short = short.map(|why| format!("{}: {why}", instead(table.is_shared(), table.capacity())));
        wrong
            .into_iter()
            .chain(refused)
            .chain(short)
            .chain(self.control.problems())
            .chain(self.whom.problems.iter().chain(&self.whom.refused).cloned())
            .collect()
    }
}
