//! Explanations that wait: for the sorter's part, or for the line of a file. Neither is waited for long, and
//! the event loop waits for neither.

use crate::daemon::sources::Slot;
use hither_control::{AddressReport, AskedBy, Explain, Explained, Explanation, Response};
use hither_table::Monotonic;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

/// Explanations that wait at the same time; further ones are given without what they would wait for. So the
/// sorter has at most 8 requests to answer and the event loop 8 waits to look at, whatever users ask.
const WAITING_MAX: usize = 8;
/// How long the sorter's part is waited for.
const SORTER_WITHIN: Duration = Duration::from_millis(300);
/// How long the line of a file is waited for.
const LINE_WITHIN: Duration = Duration::from_secs(4);

/// An explanation without the parts that it waits for.
#[derive(Debug)]
struct Waiting {
    slot: Slot,
    /// The number in the request to the sorter.
    id: u64,
    explanation: Box<Explanation>,
    /// Until when the sorter's part is waited for; `None` if it has come, or is not needed.
    sorter: Option<Monotonic>,
    /// Receives the line of the file that the answer comes from, until a time.
    line: Option<(Receiver<String>, Monotonic)>,
    /// Receives the units that asked for the name, until a time.
    askers: Option<(Receiver<AskedBy>, Monotonic)>,
}

/// What an explanation waits for besides the sorter.
#[derive(Debug, Default)]
pub(crate) struct WaitsFor {
    /// The line of the file that the answer comes from.
    pub line: Option<Receiver<String>>,
    /// The units that asked for the name.
    pub askers: Option<Receiver<AskedBy>>,
}

impl WaitsFor {
    /// Whether it waits for nothing.
    pub fn is_empty(&self) -> bool {
        self.line.is_none() && self.askers.is_none()
    }
}

/// All explanations that wait.
#[derive(Debug, Default)]
pub(crate) struct Explanations {
    waiting: Vec<Waiting>,
    last_id: u64,
}

impl Explanations {
    /// Whether as many wait as may.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING_MAX
    }

    /// Drops those whose connection is closed.
    pub fn retain_open(&mut self, mut is_open: impl FnMut(Slot) -> bool) {
        self.waiting.retain(|waiting| is_open(waiting.slot));
    }

    /// The request to the sorter for an explanation; `None` if it has no addresses.
    pub fn request(&mut self, explanation: &Explanation) -> Option<Explain> {
        self.last_id += 1;
        let addresses = explanation.addresses.iter().filter_map(|known| known.address.parse().ok());
        let request = Explain {
            id: self.last_id,
            name: explanation.name.clone(),
            rtype: explanation.rtype.clone(),
            addresses: addresses.collect(),
        };
        (!request.addresses.is_empty()).then_some(request)
    }

    /// Adds an explanation that waits. `asked`: the request that the sorter has got.
    pub fn add(
        &mut self,
        slot: Slot,
        explanation: Explanation,
        asked: Option<&Explain>,
        waits_for: WaitsFor,
        now: Monotonic,
    ) {
        self.waiting.push(Waiting {
            slot,
            id: asked.map_or(0, |request| request.id),
            explanation: Box::new(explanation),
            sorter: asked.map(|_| now.plus(SORTER_WITHIN)),
            line: waits_for.line.map(|line| (line, now.plus(LINE_WITHIN))),
            askers: waits_for.askers.map(|askers| (askers, now.plus(SORTER_WITHIN))),
        });
    }

    /// Adds what the sorter knows. What it says of addresses that are not in the set is left out, and so
    /// is what nobody waits for.
    pub fn note_sorter(&mut self, said: Explained) {
        let said = said.fitting();
        let waits = |waiting: &&mut Waiting| waiting.id == said.id && waiting.sorter.is_some();
        let Some(waiting) = self.waiting.iter_mut().find(waits) else { return };
        waiting.sorter = None;
        let explanation = &mut waiting.explanation;
        explanation.sorter = "answered".to_owned();
        for probes in said.addresses {
            let address = probes.address.to_string();
            if let Some(known) = explanation.addresses.iter_mut().find(|known| known.address == address) {
                known.sorter = Some(probes);
            }
        }
        let soonest =
            |of: fn(&AddressReport) -> Option<u64>| explanation.addresses.iter().filter_map(of).min();
        let certificate = |known: &AddressReport| known.sorter.as_ref()?.certificate.as_ref()?.renewal_in_ms;
        let next = (soonest(|known| known.sorter.as_ref()?.next_in_ms), soonest(certificate));
        (explanation.next.sample_in_ms, explanation.next.certificate_in_ms) = next;
    }

    /// The time at which the first of them is answered as it is.
    pub fn timeout(&self) -> Option<Monotonic> {
        let until = |waiting: &Waiting| {
            let askers = waiting.askers.as_ref().map(|(_, until)| *until);
            let line = waiting.line.as_ref().map(|(_, until)| *until);
            [waiting.sorter, line, askers].into_iter().flatten().min()
        };
        self.waiting.iter().filter_map(until).min()
    }

    /// Takes those that are complete, or have waited long enough.
    pub fn take_finished(&mut self, now: Monotonic) -> Vec<(Slot, Response)> {
        let finished = self.waiting.extract_if(.., |waiting| !waiting.waits(now));
        let response = |waiting: Waiting| {
            let explanation = waiting.explanation.fitting();
            (waiting.slot, Response::Explained(Some(Box::new(explanation))))
        };
        finished.map(response).collect()
    }
}

impl Waiting {
    /// Whether it still waits. A part that does not come is said to be missing.
    fn waits(&mut self, now: Monotonic) -> bool {
        if self.sorter.is_some_and(|until| now >= until) {
            self.sorter = None;
            self.explanation.sorter = format!("no answer within {} ms", SORTER_WITHIN.as_millis());
        }
        if let Some((line, until)) = &self.line {
            match line.try_recv() {
                Ok(line) => (self.explanation.source_detail, self.line) = (Some(line), None),
                Err(TryRecvError::Empty) if now < *until => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.line = None,
            }
        }
        if let Some((askers, until)) = &self.askers {
            match askers.try_recv() {
                Ok(asked_by) => (self.explanation.asked_by, self.askers) = (asked_by, None),
                Err(TryRecvError::Empty) if now < *until => {}
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => self.askers = None,
            }
        }
        self.sorter.is_some() || self.line.is_some() || self.askers.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_control::AddressProbes;
    use std::net::IpAddr;

    const NOW: Monotonic = Monotonic::from_ms(1000);

    fn explanation() -> Explanation {
        let address =
            |end: u8| AddressReport { address: format!("192.0.2.{end}"), ..AddressReport::default() };
        Explanation { addresses: (1..=2).map(address).collect(), ..Explanation::default() }
    }

    fn answered(said: &[(Slot, Response)]) -> &Explanation {
        let [(_, Response::Explained(Some(explanation)))] = said else { panic!("{said:?}") };
        explanation
    }

    #[test]
    fn the_sorters_part_is_waited_for_and_joined_and_a_lie_is_left_out() {
        let (mut all, slot) = (Explanations::default(), Slot { key: 1, generation: 1 });
        let request = all.request(&explanation()).expect("it has addresses");
        all.add(slot, explanation(), Some(&request), WaitsFor::default(), NOW);
        assert!(all.take_finished(NOW).is_empty());
        assert_eq!(all.timeout(), Some(NOW.plus(SORTER_WITHIN)));
        let of = |end| AddressProbes {
            next_in_ms: Some(u64::from(end)),
            ..AddressProbes::of([192, 0, 2, end].into())
        };
        all.note_sorter(Explained { id: request.id + 1, addresses: vec![of(1)] });
        assert!(all.take_finished(NOW).is_empty(), "nobody has asked that");
        all.note_sorter(Explained { id: request.id, addresses: vec![of(9), of(2)] });
        let said = all.take_finished(NOW);
        let said = answered(&said);
        let known: Vec<_> = said.addresses.iter().map(|a| a.sorter.as_ref().map(|p| p.address)).collect();
        assert_eq!(known, [None, Some(IpAddr::from([192, 0, 2, 2]))]);
        assert_eq!((said.sorter.as_str(), said.next.sample_in_ms), ("answered", Some(2)));
        assert_eq!(all.timeout(), None);
    }

    #[test]
    fn a_sorter_that_does_not_answer_and_a_file_that_takes_long_are_not_waited_for() {
        let (mut all, slot) = (Explanations::default(), Slot { key: 1, generation: 1 });
        let (sender, line) = std::sync::mpsc::channel();
        let request = all.request(&explanation());
        let line = WaitsFor { line: Some(line), ..WaitsFor::default() };
        all.add(slot, explanation(), request.as_ref(), line, NOW);
        assert!(all.take_finished(NOW.plus(SORTER_WITHIN)).is_empty());
        let said = all.take_finished(NOW.plus(LINE_WITHIN));
        assert_eq!(answered(&said).sorter, "no answer within 300 ms");
        drop(sender);
        assert_eq!((all.timeout(), all.waiting.len()), (None, 0));
        (0..WAITING_MAX)
            .for_each(|_| all.add(slot, explanation(), request.as_ref(), WaitsFor::default(), NOW));
        assert!(all.is_full());
        all.retain_open(|_| false);
        assert!(!all.is_full());
    }
}
