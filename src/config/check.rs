//! Checks that concern several keys: values that are valid by themselves but not together.

use super::place::{Of, Place};
use super::{Config, Upstream};
use std::net::SocketAddr;
use std::time::Duration;

impl Config {
    /// Checks the values of the configuration together.
    ///
    /// # Errors
    /// The key at fault, and the reason.
    pub(super) fn check(&self) -> Result<(), (Place, String)> {
        let s = &self.settings;
        let fail = |section, key, message: &str| {
            Err((Place { section, key, of: Of::Last }, format!("{section}.{key} {message}")))
        };
        if s.min_ttl > s.max_ttl {
            return fail("cache", "min_ttl", "is larger than cache.max_ttl");
        }
        if s.deadline < Duration::from_millis(10) || s.deadline > Duration::from_secs(60) {
            return fail("round", "deadline", "is not between 10ms and 60s");
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&s.failure_ttl) {
            return fail("cache", "failure_ttl", "is not between 1s and 5m (RFC 9520 section 3.2)");
        }
        if !self.state.save_every.is_zero() && self.state.save_every < Duration::from_secs(1) {
            return fail("cache", "save", "is neither 0s (never) nor at least 1s");
        }
        if self.listen.workers > 64 {
            return fail("listen", "workers", "is larger than 64");
        }
        if self.table.entries > Some(16 << 20) {
            return fail("table", "entries", "is larger than 16777216");
        }
        if self.limits.feed.limits.names > 1_000_000 {
            return fail("feed", "names", "is larger than 1000000");
        }
        if s.site.wait > Duration::from_millis(100) {
            return fail("site", "wait", "is larger than 100ms");
        }
        // An upstream of several domains counts once.
        let mut distinct: Vec<&Upstream> = Vec::new();
        self.upstreams.all().chain(&self.upstreams.tls.bootstrap).for_each(|upstream| {
            if !distinct.iter().any(|known| known.is_same(upstream)) {
                distinct.push(upstream)
            }
        });
        let count = distinct.len();
        if count > 64 {
            let place = Place { section: "upstream", key: "address", of: Of::Last };
            return Err((place, format!("{count} upstreams; expected at most 64")));
        }
        if let Some((name, _)) = self.upstreams.domains.iter().find(|(_, upstreams)| upstreams.is_empty()) {
            let place = Place { section: "domain", key: "upstreams", of: Of::Domain(Box::new(*name)) };
            return Err((place, format!("the domain {name} has no upstreams")));
        }
        let all = self.upstreams.all().chain(&self.upstreams.tls.bootstrap);
        let all = all.flat_map(|upstream| upstream.addresses().into_iter().map(move |at| (upstream, at)));
        for (upstream, address) in all.filter(|(_, address)| address.port() != 0) {
            let is_own = |own: &SocketAddr| {
                let everywhere = own.ip().is_unspecified() && address.ip().is_loopback();
                own.port() == address.port() && (own.ip() == address.ip() || everywhere)
            };
            if self.listen.addresses.iter().any(is_own) {
                let place =
                    Place { section: "upstream", key: "address", of: Of::Upstream(upstream.id.clone()) };
                let message = format!(
                    "the upstream {upstream} is an address of listen.dns: hitherd would query itself"
                );
                return Err((place, message));
            }
        }
        Ok(())
    }
}
