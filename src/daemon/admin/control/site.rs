//! The companion `hither-site` at its socket: it offers sets that other hosts have learned, answers what
//! the daemon asks for, and reports its state.

use super::site_offer::offer;
use super::{Control, Message};
use crate::daemon::admin::companion::Companion;
use crate::daemon::sources::Slot;
use hither_control::{
    MESSAGE_MAX, OFFERS_MAX, OfferedSet, SITE_VERSION, SiteMessage, SiteReply, SiteReport, SiteStatus,
};
use hither_rounds::{Offer, Question, Routes, Site};
use hither_table::Monotonic;
use hither_wire::name::Name;
use mio::Registry;
use std::path::Path;

/// What the daemon knows of the companion.
#[derive(Debug, Default)]
pub(super) struct SiteCompanion {
    /// Whether answers are shared at all.
    is_on: bool,
    /// The process of the companion, while it is connected.
    process: Option<i32>,
    /// Whether the process speaks our version.
    is_welcome: bool,
    report: SiteReport,
    /// Whether the core takes the companion to be ready.
    told_ready: bool,
    /// Whether a set of this connection was refused: further ones are not logged.
    has_refused: bool,
    /// The names that stay on this host, as the companion is told.
    unshared: Option<SiteReply>,
}

/// Octets of the names that one message lists at most.
const UNSHARED_OCTETS_MAX: usize = MESSAGE_MAX / 2;

/// The names that stay on this host: those that are not asked of the default upstreams, and those of the
/// network itself.
fn unshared(routes: &Routes) -> SiteReply {
    let names = routes.domains.keys().chain(routes.names.keys()).chain(&routes.own);
    let mut domains: Vec<String> = names.map(Name::to_string).collect();
    domains.sort();
    domains.dedup();
    // An octet may be escaped once more in JSON.
    let octets: usize = domains.iter().map(|domain| 2 * domain.len() + 3).sum();
    let is_cut = octets > UNSHARED_OCTETS_MAX;
    SiteReply::Unshared { domains: if is_cut { Vec::new() } else { domains }, is_cut }
}

impl SiteCompanion {
    pub fn connected(&mut self, process: i32) {
        let SiteCompanion { is_on, told_ready, .. } = *self;
        let unshared = self.unshared.take();
        *self =
            SiteCompanion { is_on, told_ready, process: Some(process), unshared, ..SiteCompanion::default() };
    }

    pub fn disconnected(&mut self) {
        (self.process, self.is_welcome) = (None, false);
    }

    /// Whether the engine can be asked.
    fn is_ready(&self) -> bool {
        self.is_on && self.is_welcome && matches!(self.report.state.as_str(), "up" | "read_only")
    }
}

impl Control {
    /// Begins or ends the sharing of answers: binds or closes the socket of the companion. A companion that
    /// is connected reads the configuration again: which names leave this host, it decides by itself.
    pub fn set_site(&mut self, is_on: bool, dir: &Path, registry: &Registry) {
        self.site.is_on = is_on;
        // One that reads nothing compares the configuration when its connection ends.
        if self.site.is_welcome
            && !self.send_to(Companion::Site, &SiteReply::Reload)
            && let Some((key, _)) = self.peers.companion(Companion::Site)
        {
            self.close(key);
        }
        if !is_on
            && !self.site_socket.is_passed()
            && let Some((key, _)) = self.peers.companion(Companion::Site)
        {
            self.close(key);
        }
        // `problems` reports a failure: answers are as right without the companion.
        let _ = self.site_socket.set_wanted(is_on, dir, registry);
    }

    /// Tells the companion which names stay on this host by these routes, before they are in force.
    pub fn set_unshared(&mut self, routes: &Routes) {
        let told = unshared(routes);
        if self.site.unshared.as_ref() == Some(&told) {
            return;
        }
        if matches!(told, SiteReply::Unshared { is_cut: true, .. }) && self.site.is_on {
            log::warn!("nothing is shared with other hosts: too many domains have upstreams of their own");
        }
        self.site.unshared = Some(told);
        if self.site.is_welcome {
            self.tell_unshared();
        }
    }

    /// A companion that cannot be told is disconnected: without the daemon it shares nothing.
    fn tell_unshared(&mut self) {
        let Some(told) = self.site.unshared.clone() else { return };
        if !self.send_to(Companion::Site, &told)
            && let Some((key, _)) = self.peers.companion(Companion::Site)
        {
            self.close(key);
        }
    }

    /// The latest report of the companion; `None` if nothing is shared.
    pub fn site_status(&self) -> Option<SiteStatus> {
        let SiteCompanion { is_on, process, ref report, .. } = self.site;
        let report = report.clone();
        is_on.then_some(SiteStatus { connected: process.is_some(), pid: process, report })
    }

    /// Whether the companion can be asked, if that has changed since the last call.
    pub fn take_site_ready(&mut self) -> Option<bool> {
        let is_ready = self.site.is_ready();
        let told = std::mem::replace(&mut self.site.told_ready, is_ready);
        (told != is_ready).then_some(is_ready)
    }

    /// Asks the companion what the site knows of a question. Whether it is connected, and takes the
    /// request.
    pub fn ask_site(&mut self, ask: u64, question: &Question) -> bool {
        let (name, rtype) = (question.name.to_string(), question.rtype.to_string());
        self.site.is_ready() && self.send_to(Companion::Site, &SiteReply::Ask { ask, name, rtype })
    }

    pub(super) fn on_site_message(&mut self, slot: Slot, message: SiteMessage, now: Monotonic) -> Message {
        if let SiteMessage::Hello { version } = message {
            let unwelcome = |reason| SiteReply::Unwelcome { reason };
            self.site.is_welcome = self.welcome(slot, Companion::Site, (version, SITE_VERSION), unwelcome);
            if self.site.is_welcome {
                self.tell_unshared();
            }
            return Message::Handled;
        }
        if !self.site.is_welcome {
            return self.refuse(slot, "its first message says no version".to_owned());
        }
        match message {
            SiteMessage::State(report) => self.site.report = *report,
            SiteMessage::Offers { sets } if sets.len() > OFFERS_MAX => {
                let count = sets.len();
                return self
                    .refuse(slot, format!("{count} sets in one message; at most {OFFERS_MAX} are allowed"));
            }
            SiteMessage::Offers { sets } if self.site.is_on => {
                let offers: Vec<Offer> = sets.iter().filter_map(|set| self.offer(set, now)).collect();
                return Message::Site(Site::Offers(offers));
            }
            SiteMessage::Answer { ask: round, set } => {
                let offer = set.and_then(|set| self.offer(&set, now)).map(Box::new);
                return Message::Site(Site::Answer { round, offer });
            }
            SiteMessage::Hello { .. } | SiteMessage::Offers { .. } => {}
        }
        Message::Handled
    }

    /// The set in the core's own type. One that is malformed is counted.
    fn offer(&mut self, set: &OfferedSet, now: Monotonic) -> Option<Offer> {
        let fault = match offer(set, now) {
            Ok(offer) => return Some(offer),
            Err(fault) => fault,
        };
        self.errors += 1;
        // Names that clients ask for are shown at this level only.
        log::debug!(name = set.name.as_str(); "the set of '{}' from the site is refused: {fault}", set.name);
        if !std::mem::replace(&mut self.site.has_refused, true) {
            let said = format!("a set of hither-site is refused: {fault}; further ones are only counted");
            Companion::Site.log_refused(&fault, &said);
        }
        None
    }
}
