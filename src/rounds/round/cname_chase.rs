//! CNAME chase: the round queries the target of a dangling CNAME, which no upstream has looked up.

use crate::ids::UpstreamId;
use crate::reply::ede;
use crate::round::Round;
use crate::settings::CNAMES_MAX;
use crate::shared::Shared;
use crate::weak_answer::DanglingCname;

impl Round {
    /// Queries the target of a CNAME, within the same round and deadline.
    pub fn chase_cname(&mut self, shared: &mut Shared, dangling: DanglingCname) {
        let Some(last) = dangling.links.last() else { return };
        let name = last.target.to_lower();
        let loops = name == self.question.name
            || dangling.links.iter().rev().skip(1).any(|link| link.target.eq_ignore_case(&name));
        if loops || dangling.links.len() > CNAMES_MAX {
            self.ede = ede::OTHER;
            return;
        }
        self.target = self.target.chased(name, dangling.links, dangling.before);
        self.ask_all_from(shared, dangling.from);
    }

    fn ask_all_from(&mut self, shared: &mut Shared, from: UpstreamId) {
        let now = shared.now;
        self.ask_all(shared, 0);
        if let Some(at) = self.unasked.iter().position(|id| *id == from) {
            self.unasked.swap(0, at);
        }
        if self.attempts.iter().all(|a| a.target.leg() != self.target.leg()) {
            self.ask_next(shared, 1);
        }
        self.next_wave_at = (!self.unasked.is_empty()).then(|| now.plus(shared.settings.fallback));
    }
}
