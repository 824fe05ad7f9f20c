//! The channels of one connection: which are in use, and which may not be used again yet.

use crate::ids::{Channel, Token};
use crate::input::Numbering;
use crate::mutant::{Mutant, Mutants};
use crate::settings::{QUERIES_MAX, RESERVED_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// Draws of a random id before the next free one is taken. A draw meets a number in use in a third of all
/// cases at most, so that hardly any id is not a drawn one.
const DRAWS_MAX: usize = 16;

/// The channels of one connection. A channel is never used for two queries while an answer to the first
/// may still come.
#[derive(Debug)]
pub(crate) struct Channels {
    numbering: Numbering,
    in_use: BTreeMap<Channel, Token>,
    /// With [`Numbering::Random`]: cancelled queries that the server has not answered yet.
    reserved: BTreeSet<Channel>,
    /// How many queries have been sent; with [`Numbering::Ascending`] the next channel.
    used: u64,
}

impl Channels {
    pub fn new(numbering: Numbering) -> Channels {
        Channels { numbering, in_use: BTreeMap::new(), reserved: BTreeSet::new(), used: 0 }
    }

    /// The number of queries that wait for an answer.
    pub fn in_use(&self) -> usize {
        self.in_use.len()
    }

    /// The number of cancelled queries whose answer may still come.
    pub fn reserved(&self) -> usize {
        self.reserved.len()
    }

    /// How many queries have been sent.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Whether the connection should take no further queries: the numbers are used up, or the server
    /// leaves too many cancelled queries without an answer.
    pub fn is_exhausted(&self) -> bool {
        self.used >= QUERIES_MAX || self.reserved.len() > RESERVED_MAX
    }

    /// Whether an answer to a query on the channel was or is possible.
    pub fn has_been_used(&self, channel: Channel) -> bool {
        match self.numbering {
            Numbering::Ascending => channel.0 < self.used,
            Numbering::Random => self.reserved.contains(&channel) || self.in_use.contains_key(&channel),
        }
    }

    /// Puts a query on a free channel. At most [`crate::STREAMS_MAX`] may be in use.
    pub fn open(&mut self, token: Token, random: &mut dyn FnMut() -> u64, mutants: Mutants) -> Channel {
        let channel = match self.numbering {
            Numbering::Ascending if mutants.has(Mutant::ChannelIsUsedTwice) => Channel(self.used / 2),
            Numbering::Ascending => Channel(self.used),
            Numbering::Random => self.free_id(random, mutants),
        };
        self.used += 1;
        self.in_use.insert(channel, token);
        channel
    }

    fn free_id(&self, random: &mut dyn FnMut() -> u64, mutants: Mutants) -> Channel {
        let mut id = 0;
        for _ in 0..DRAWS_MAX {
            id = (random() & 0xffff) as u16;
            if self.is_free(id, mutants) {
                return Channel(u64::from(id));
            }
        }
        // Fewer than a third of all ids are taken, so that this ends.
        while !self.is_free(id, mutants) {
            id = id.wrapping_add(1);
        }
        Channel(u64::from(id))
    }

    fn is_free(&self, id: u16, mutants: Mutants) -> bool {
        let channel = Channel(u64::from(id));
        let is_reserved = self.reserved.contains(&channel) && !mutants.has(Mutant::CancelledIdIsUsedAgain);
        let is_used = self.in_use.contains_key(&channel) && !mutants.has(Mutant::ChannelIsUsedTwice);
        !is_reserved && !is_used
    }

    /// Ends a channel that has been answered or reset. Returns the query, unless it was cancelled.
    pub fn end(&mut self, channel: Channel) -> Option<Token> {
        self.reserved.remove(&channel);
        self.in_use.remove(&channel)
    }

    /// Ends the channel of a cancelled query.
    pub fn cancel(&mut self, channel: Channel) {
        let was_used = self.in_use.remove(&channel).is_some();
        if was_used && self.numbering == Numbering::Random {
            self.reserved.insert(channel);
        }
    }

    /// The query on any channel in use but one; a planted fault delivers to it.
    pub fn other_than(&self, channel: Channel) -> Option<Channel> {
        self.in_use.keys().copied().find(|other| *other != channel)
    }

    /// Ends the channels that the server did not process, and returns their queries, oldest first.
    pub fn take_unprocessed(&mut self, last: Option<Channel>) -> Vec<Token> {
        let mut tokens: Vec<Token> = match (self.numbering, last) {
            (Numbering::Random, Some(_)) => Vec::new(),
            (_, None) => std::mem::take(&mut self.in_use).into_values().collect(),
            (Numbering::Ascending, Some(last)) => {
                let from = Channel(last.0.saturating_add(1));
                if from == last { Vec::new() } else { self.in_use.split_off(&from).into_values().collect() }
            }
        };
        tokens.sort_unstable();
        tokens
    }

    /// The queries on all channels, oldest first.
    pub fn tokens(&self) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.in_use.values().copied().collect();
        tokens.sort_unstable();
        tokens
    }

    /// The query on a channel.
    pub fn query_on(&self, channel: Channel) -> Option<Token> {
        self.in_use.get(&channel).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(channels: &mut Channels, token: u64, drawn: u64) -> Channel {
        channels.open(Token(token), &mut || drawn, Mutants::default())
    }

    #[test]
    fn an_id_is_free_again_only_after_its_answer() {
        let mut channels = Channels::new(Numbering::Random);
        assert_eq!(opened(&mut channels, 1, 0x1_ffff), Channel(0xffff));
        channels.cancel(Channel(0xffff));
        assert_eq!(opened(&mut channels, 2, 0xffff), Channel(0), "the next free id");
        assert_eq!(channels.end(Channel(0xffff)), None, "the cancelled query gets no answer");
        assert_eq!(opened(&mut channels, 3, 0xffff), Channel(0xffff));
        assert_eq!(channels.end(Channel(0)), Some(Token(2)));
    }

    #[test]
    fn streams_ascend_and_a_cancelled_one_is_not_reserved() {
        let mut channels = Channels::new(Numbering::Ascending);
        assert_eq!(opened(&mut channels, 1, 7), Channel(0));
        channels.cancel(Channel(0));
        assert_eq!((opened(&mut channels, 2, 7), channels.reserved()), (Channel(1), 0));
        assert!(channels.has_been_used(Channel(0)) && !channels.has_been_used(Channel(2)));
    }

    #[test]
    fn streams_above_the_last_one_were_not_processed() {
        let of = |last| {
            let mut channels = Channels::new(Numbering::Ascending);
            for token in 1..=3 {
                opened(&mut channels, token, 0);
            }
            channels.take_unprocessed(last)
        };
        assert_eq!(of(None), [Token(1), Token(2), Token(3)]);
        assert_eq!(of(Some(Channel(0))), [Token(2), Token(3)]);
        assert_eq!(of(Some(Channel(2))), []);
        assert_eq!(of(Some(Channel::MAX)), []);
    }

    #[test]
    fn a_server_that_leaves_cancelled_queries_unanswered_gets_no_more_of_them() {
        let mut channels = Channels::new(Numbering::Random);
        for token in 0..=RESERVED_MAX as u64 {
            assert!(!channels.is_exhausted());
            let channel = opened(&mut channels, token, token);
            channels.cancel(channel);
        }
        assert!(channels.is_exhausted());
    }
}
