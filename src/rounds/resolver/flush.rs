//! Flushes: names, or everything, are removed from the cache, and their live rounds begin again.

use crate::resolver::Rounds;
use crate::routes::Validity;
use crate::trace::Cause;
use hither_table::Key;
use hither_wire::name::Name;

impl Rounds {
    pub(crate) fn flush(&mut self, names: Option<&[Name]>) {
        match names {
            None => {
                self.shared.writer.flush_all();
                self.shared.traces.versions.note_flush(self.shared.now);
                let now = self.shared.now;
                if !self.shared.faults.may_forget_flushes() {
                    self.shared.site.raise_floor(now);
                }
                self.shared.answers.forget_failures();
                self.review_answers();
                self.stop_restore("everything was flushed");
            }
            Some(names) => {
                for name in names {
                    self.flush_saved(name);
                    self.shared.writer.remove(&Key::of(name));
                    self.shared.note_removed(name, Cause::Flushed);
                    self.shared.answers.remove_name(name);
                }
            }
        }
        let ended = self.live.iter().filter(|(q, _)| names.is_none_or(|names| names.contains(&q.name)));
        let ended: Vec<u64> = ended.map(|(_, id)| *id).collect();
        for id in ended {
            self.restart(id);
        }
    }

    /// Voids the cached data of every name as `validity` says. Cached failures of all names are removed.
    pub(crate) fn void_names(&mut self, validity: impl Fn(&Name) -> Validity + Send + Sync + 'static) {
        self.shared.answers.forget_failures();
        self.review(validity);
    }
}
