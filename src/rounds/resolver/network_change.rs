//! Changes of the network: learned facts about upstreams are discarded, and outstanding queries are sent
//! from new sockets.

use crate::resolver::Rounds;
use crate::upstream::Upstream;

impl Rounds {
    /// Handles a change of the network. Upstreams may have become reachable or unreachable, so
    /// outstanding queries are sent from new sockets, which use the new network.
    pub(crate) fn network_changed(&mut self) {
        self.shared.upstreams.iter_mut().for_each(Upstream::forget_reach);
        self.shared.answers.forget_failures();
        let ids: Vec<u64> = self.rounds.keys().copied().collect();
        for id in ids {
            self.with(id, |round, shared| {
                round.send_again(shared);
                round.conclude(shared)
            });
        }
    }
}
