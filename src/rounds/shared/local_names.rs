//! Names that hither answers itself: special-use names, hosts files, block lists.

use crate::question::Question;
use crate::shared::Shared;
use hither_local::{LocalAnswer, Presence};
use hither_wire::name::Name;

impl Shared {
    /// The local answer to a question, if there is one.
    pub fn local_answer(&self, question: &Question) -> Option<LocalAnswer> {
        self.local.answer(&question.name, question.rtype, self.groups.routes.domain(&question.name))
    }

    /// Whether a name is in a hosts file, or above one that is: then no upstream can deny it.
    pub fn exists_here(&self, name: &Name) -> bool {
        self.local.presence(name) != Presence::Absent
    }
}
