//! Which names and sets are shared with other hosts. The daemon applies the same rules to what comes in.

use crate::config::Config;
use hither_rounds::{Rebinding, Routes};
use hither_table::{FamilyView, Negative, State};
use hither_wire::name::Name;
use hither_wire::reach::Reach;
use std::collections::BTreeSet;

/// The rules of the configuration.
#[derive(Debug)]
pub(super) struct Rules {
    rebinding: Rebinding,
    /// The domains that have upstreams of their own; the upstreams themselves are of no interest here.
    routes: Routes,
    /// What stays on this host as the daemon says, which knows the settings of links too.
    unshared: Unshared,
    /// The domains that are shared; none: all.
    domains: BTreeSet<Name>,
    ttl_floor_s: u64,
}

/// The names that stay on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unshared {
    /// The daemon has not said which, so all do.
    Unknown,
    /// All names.
    All,
    /// These domains and the names below them.
    Below(BTreeSet<Name>),
}

impl Rules {
    pub fn new(config: &Config) -> Rules {
        let domains = config.upstreams.domains.keys();
        Rules {
            rebinding: config.settings.rebinding.clone(),
            routes: Routes {
                domains: domains.map(|domain| (*domain, Vec::new())).collect(),
                ..Routes::default()
            },
            unshared: Unshared::Unknown,
            domains: config.settings.site.domains.clone(),
            ttl_floor_s: config.site.ttl_floor.as_secs(),
        }
    }

    /// Takes over which names stay on this host.
    pub fn set_unshared(&mut self, unshared: Unshared) {
        self.unshared = unshared;
    }

    /// Whether the daemon has said which names stay on this host.
    pub fn know_what_stays(&self) -> bool {
        self.unshared != Unshared::Unknown
    }

    /// Whether a name, in lower case, is shared.
    pub fn is_shared(&self, name: &Name) -> bool {
        let Unshared::Below(unshared) = &self.unshared else { return false };
        let is_chosen = self.domains.is_empty() || self.domains.iter().any(|domain| name.ends_with(domain));
        is_chosen
            && !unshared.iter().any(|domain| name.ends_with(domain))
            && self.routes.domain(name).is_none()
            && self.rebinding.has_owner(name, &self.routes)
            && !hither_local::may_be_locally_served(name)
    }

    /// Whether a set may leave this host: complete, not withheld, with public addresses only, and worth
    /// the transport.
    pub fn may_leave(&self, set: &FamilyView<'_>) -> bool {
        set.state() == State::Complete
            && set.negative() != Some(Negative::Withheld)
            && u64::from(set.lifetime_s()) >= self.ttl_floor_s
            && set.addresses().all(|address| Reach::of(address.address) == Reach::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(test: &str, text: &str) -> Rules {
        let file = std::env::temp_dir().join(format!("hither-rules-{}-{test}", std::process::id()));
        std::fs::write(&file, text).expect("writable");
        let config = Config::load(Some(&file));
        std::fs::remove_file(&file).expect("ours");
        Rules::new(&config.expect("a configuration"))
    }

    fn shares(rules: &Rules, name: &str) -> bool {
        rules.is_shared(&name.parse().expect("a name"))
    }

    #[test]
    fn only_public_names_are_shared_and_only_those_of_the_chosen_domains() {
        let mut usual =
            rules("usual", "[[domain]]\nnames = [\"corp.example.net\"]\nupstreams = [\"192.0.2.1\"]\n");
        assert!(!shares(&usual, "www.example.com"), "the daemon has not said what stays here");
        let domain = |text: &str| text.parse::<Name>().expect("a name");
        usual.set_unshared(Unshared::Below(BTreeSet::from([domain("vpn.example.org")])));
        assert!(!shares(&usual, "vpn.example.org") && !shares(&usual, "a.vpn.example.org"));
        for name in ["www.example.com", "example.net", "example.org", "othervpn.example.org"] {
            assert!(shares(&usual, name), "{name}");
        }
        for name in [
            "corp.example.net",
            "a.corp.example.net",
            "printer",
            "printer.local",
            "nas.home.arpa",
            "a.internal",
            "1.2.0.192.in-addr.arpa",
            "x.onion",
            "localhost",
        ] {
            assert!(!shares(&usual, name), "{name}");
        }
        let mut chosen = rules("chosen", "[site]\ndomains = [\"example.com\"]\n");
        chosen.set_unshared(Unshared::Below(BTreeSet::new()));
        assert!(shares(&chosen, "www.example.com") && shares(&chosen, "example.com"));
        assert!(!shares(&chosen, "www.example.net") && !shares(&chosen, "badexample.com"));
        chosen.set_unshared(Unshared::Below(BTreeSet::from([domain(".")])));
        assert!(!shares(&chosen, "www.example.com"), "a link has all names");
    }
}
