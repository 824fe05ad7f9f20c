//! The shell's access to the table: everything but publishing, which the core alone does (I7).

use hither_table::{Adopted, Counters, Geometry, Held, Monotonic, Recorder, ShareError, StaleTime, Writer};
use std::net::SocketAddr;
use std::path::Path;

/// The table's writer without the methods that change an entry.
///
/// The shell keeps the table's file, header and versions; the core alone changes entries. Before the
/// core exists, the shell uses the whole [`Writer`] through this type too.
#[derive(Debug)]
pub struct Upkeep<'w>(&'w mut Writer);

impl<'w> Upkeep<'w> {
    /// The upkeep of a table that no core owns yet.
    #[must_use]
    pub fn of(writer: &'w mut Writer) -> Upkeep<'w> {
        Upkeep(writer)
    }

    /// The number of names in the table. Flushed names count until their space is reused.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.0.entries()
    }

    /// The number of names that the table can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Whether other processes can read the table.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// The number of changes that the table has announced so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.0.changes()
    }

    /// The last version that was given out.
    #[must_use]
    pub fn last_version(&self) -> u64 {
        self.0.last_version()
    }

    /// Lets versions continue above `version`, which no earlier table has reached. `false`: `version`
    /// is out of range, and nothing changes.
    pub fn begin_above(&mut self, version: u64) -> bool {
        self.0.begin_above(version)
    }

    /// Lets versions continue well above `version`, the last known version of an earlier table, which
    /// may have published more since.
    pub fn go_on_above(&mut self, version: u64) {
        self.0.go_on_above(version);
    }

    /// Whether entries of a predecessor's table are still to be checked or copied.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.0.has_work()
    }

    /// Checks or copies the predecessor's entries in the next `places` index slots. Returns the result
    /// when all are done.
    pub fn work(&mut self, places: usize, now: Monotonic) -> Option<Adopted> {
        self.0.work(places, now)
    }

    /// Shows the counters to readers.
    pub fn set_counters(&self, counters: &Counters) {
        self.0.set_counters(counters);
    }

    /// The metrics, for the shell to write its own.
    #[must_use]
    pub fn recorder(&self) -> Recorder<'_> {
        self.0.recorder()
    }

    /// Shows readers the address at which the daemon answers DNS queries.
    pub fn set_dns_address(&self, address: Option<SocketAddr>) {
        self.0.set_dns_address(address);
    }

    /// Shows readers for how long they may use expired addresses.
    pub fn set_stale_time(&self, time: StaleTime) {
        self.0.set_stale_time(time);
    }

    /// Notes the offset between the wall clock and the table's clock. The shell calls this about once a
    /// second.
    pub fn note_clocks(&self) {
        self.0.note_clocks();
    }

    /// Wakes the readers that wait for a change.
    pub fn wake_followers(&self) {
        self.0.wake_followers();
    }

    /// Marks the table as closed in good order; its entries stay readable until they expire.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// Whether `dir` has space for a larger table than this one, up to `wanted`: one system call.
    #[must_use]
    pub fn is_there_more_room(&self, dir: &Path, wanted: &Geometry) -> bool {
        hither_table::is_there_more_room(self.0, dir, wanted)
    }

    /// Replaces the table by one of the wanted size and file mode, or by the largest smaller one that
    /// `dir` has space for. Returns the reason if the new table is smaller than wanted.
    ///
    /// # Errors
    /// A [`ShareError`] if no new table can be made; the table is then unchanged.
    pub fn rotate_as_it_fits(
        &mut self,
        held: &mut Option<Held>,
        dir: &Path,
        wanted: &Geometry,
        mode: u32,
        random: [u64; 3],
    ) -> Result<Option<ShareError>, ShareError> {
        self.0.rotate_as_it_fits(held, dir, wanted, mode, random)
    }

    /// The whole writer, for tests that put entries in place.
    #[cfg(any(test, feature = "mutants"))]
    pub fn writer(self) -> &'w mut Writer {
        self.0
    }
}
