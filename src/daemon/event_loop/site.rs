//! Answers that are shared with other hosts: whether the companion can be asked, and the flush of all sets
//! that came from the site.

use crate::daemon::event_loop::Daemon;
use crate::daemon::sources::Slot;
use hither_control::Response;
use hither_rounds::{Input, Site};
use hither_table::Monotonic;

impl Daemon {
    /// Reports to the core whether the companion can be asked, if that has changed.
    pub(super) fn tell_site(&mut self, now: Monotonic) {
        if let Some(is_ready) = self.admin.take_site_ready() {
            self.tell(now, Input::Site(Site::Ready(is_ready)));
        }
    }

    /// Voids all sets that came from the site. Where the table is large they are removed in slices; none is
    /// given to a client any more.
    pub(super) fn flush_site(&mut self, slot: Slot, now: Monotonic) {
        let entries = self.core.table().entries() as u64;
        self.tell(now, Input::Site(Site::Flush));
        self.persist.cache.note_flush();
        self.admin.note_change();
        self.admin.reply(slot, &Response::Flushed { entries });
    }
}
