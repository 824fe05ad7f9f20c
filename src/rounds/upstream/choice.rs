//! The choice of upstreams for a round: which ones, in which order, and how many at once.

use crate::ids::UpstreamId;
use crate::upstream::{Health, LAME_AFTER, Upstream};
use hither_table::Monotonic;
use std::collections::VecDeque;

/// The upstreams that a round queries, in order; the first `first` of them at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub order: VecDeque<UpstreamId>,
    pub first: usize,
}

/// Orders the upstreams of `group` by round-trip time. New upstreams come first, so that their time
/// becomes known, and silent ones last. An upstream that is due for a trial is queried in addition to
/// the first wave, so that no client waits for it. If all are down, all are queried at once. `order` is
/// memory for the result.
pub(crate) fn choose(
    upstreams: &mut [Upstream],
    group: &[UpstreamId],
    now: Monotonic,
    first: usize,
    mut order: VecDeque<UpstreamId>,
) -> Choice {
    order.clear();
    let mut trials = Vec::new();
    for id in group {
        let Some(upstream) = upstreams.get_mut(usize::from(id.0)) else { continue };
        match upstream.health {
            Health::Up => order.push_back(*id),
            Health::Down { until, pause } if now >= until => {
                upstream.health = Health::Trial { pause };
                trials.push(*id);
            }
            Health::Down { .. } | Health::Trial { .. } => {}
        }
    }
    if order.is_empty() {
        order.extend(group);
        return Choice { first: group.len(), order };
    }
    let rank = |id: &UpstreamId| {
        let upstream = upstreams.get(usize::from(id.0));
        upstream
            .map(|u| (u.lame >= LAME_AFTER, u.is_silent(now), u.rtt.map_or(0, |(smoothed, _)| smoothed), *id))
    };
    order.make_contiguous().sort_unstable_by_key(rank);
    let first = first.max(1).min(order.len()) + trials.len();
    trials.into_iter().rev().for_each(|id| order.push_front(id));
    Choice { order, first }
}
