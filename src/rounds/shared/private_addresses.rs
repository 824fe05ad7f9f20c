//! Withholds private addresses from public names (DNS rebinding, see [`crate::rebinding`]).

use crate::complete_answer::AnswerBuilder;
use crate::rebinding::{is_private, is_sinkhole};
use crate::shared::Shared;
use hither_wire::codes::Rtype;
use hither_wire::message::Message;
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::net::IpAddr;

impl Shared {
    /// Whether a name in lower case is public.
    pub fn is_public(&self, name: &Name) -> bool {
        self.settings.rebinding.is_public(name, &self.groups.routes)
    }

    /// Removes private addresses from those of a public name, and returns the first of them. Sinkholes
    /// stay: filtering resolvers give them on purpose, and any other address replaces them.
    pub fn withhold(&self, name: &Name, addresses: &mut Vec<IpAddr>) -> Option<IpAddr> {
        let first = addresses.iter().copied().find(is_private)?;
        if !self.is_public(name) {
            return None;
        }
        addresses.retain(|address| !is_private(address));
        Some(first)
    }

    /// The first address because of which a complete answer is withheld. Only the records that belong
    /// to the answer count. Beside another address, a sinkhole counts as private.
    pub fn withheld_of(&self, builder: &AnswerBuilder<'_>, message: &Message<'_>) -> Option<IpAddr> {
        if !matches!(builder.question.rtype, Rtype::A | Rtype::AAAA | Rtype::ANY) {
            return None;
        }
        let all = builder.addresses(message);
        let mixed = all.iter().any(|address| !is_sinkhole(address));
        let withheld =
            |address: &IpAddr| Reach::of(*address) != Reach::Public && (mixed || is_private(address));
        let first = all.into_iter().find(withheld)?;
        self.is_public(&builder.question.name).then_some(first)
    }
}
