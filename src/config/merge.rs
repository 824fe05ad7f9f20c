//! Merging the sections of a file into a [`Config`]: later files win key by key, blocks are added.

use super::file::{self, File};
use super::upstream::Gathered;
use super::values::Blocked;
use super::{Block, Config};
use hither_local::Match;

/// Sets a key that the file has.
fn set<T, F: Into<T>>(place: &mut T, value: Option<F>) {
    if let Some(value) = value {
        *place = value.into();
    }
}

impl Config {
    /// Sets the keys that `file` has; other keys stay as they are.
    pub(super) fn merge(&mut self, file: File, upstreams: &mut Gathered) {
        let File {
            runtime_dir,
            state_dir,
            listen,
            upstream,
            domain,
            tls,
            hosts,
            block,
            limits,
            round,
            rebinding,
            cache,
            table,
            sort,
            feed,
            site,
            log,
        } = file;
        set(&mut self.runtime_dir, runtime_dir);
        self.state.dir = state_dir.or(self.state.dir.take());
        set(&mut self.state.save_every, cache.save);
        let dns = listen.dns.map(|all| all.into_iter().map(|one| one.0).collect::<Vec<_>>());
        set(&mut self.listen.addresses, dns);
        set(&mut self.listen.allow, listen.allow);
        set(&mut self.listen.workers, listen.workers);
        upstreams.add_upstreams(upstream);
        upstreams.set_tls(tls);
        self.merge_domains(domain, upstreams);
        self.merge_local(hosts, block);
        self.merge_rebinding(rebinding);
        set(&mut self.limits.clients_per_network, limits.clients_per_network);
        set(&mut self.limits.tcp, limits.tcp);
        set(&mut self.limits.tcp_per_network, limits.tcp_per_network);
        set(&mut self.limits.replies_per_second, limits.replies_per_second);
        let s = &mut self.settings;
        set(&mut s.limits.rounds, limits.rounds);
        set(&mut s.limits.attempts, limits.attempts);
        set(&mut s.limits.clients, limits.clients);
        set(&mut s.mix_case, round.mix_case);
        set(&mut s.first, round.first);
        set(&mut s.fallback, round.fallback);
        set(&mut s.batch, round.batch);
        set(&mut s.stagger, round.stagger);
        set(&mut s.complete, round.complete);
        set(&mut s.deadline, round.deadline);
        set(&mut s.negative_grace, round.negative_grace);
        set(&mut s.deny, round.deny);
        set(&mut s.limits.answers, cache.entries);
        set(&mut s.min_ttl, cache.min_ttl);
        set(&mut s.max_ttl, cache.max_ttl);
        set(&mut s.max_negative_ttl, cache.max_negative_ttl);
        set(&mut s.failure_ttl, cache.failure_ttl);
        set(&mut s.stale, cache.stale);
        set(&mut s.stale_wait, cache.stale_wait);
        set(&mut s.stale_ttl, cache.stale_ttl);
        set(&mut s.prefetch, cache.prefetch);
        self.table.entries = table.entries.map(usize::from).or(self.table.entries);
        set(&mut self.table.mode, table.mode);
        self.merge_sort(sort);
        self.merge_feed(feed);
        self.merge_site(site);
        set(&mut self.log.level, log.level.map(|level| level.0));
        set(&mut self.log.queries, log.queries);
        set(&mut self.log.dnstap, log.dnstap);
    }

    fn merge_feed(&mut self, file: file::FeedFile) {
        let rate = |rate: super::values::AtLeastOne| u32::try_from(rate.0).unwrap_or(u32::MAX);
        let feed = &mut self.limits.feed;
        set(&mut feed.mode, file.mode);
        feed.limits.names = file.names.map_or(feed.limits.names, |names| names as usize);
        set(&mut feed.limits.names_per_user, file.names_per_user);
        set(&mut feed.limits.subscribers_per_user, file.subscribers_per_user);
        set(&mut feed.limits.rounds, file.rounds.map(rate));
        set(&mut feed.limits.rounds_per_user, file.rounds_per_user.map(rate));
    }

    fn merge_site(&mut self, file: file::SiteFile) {
        let (site, core) = (&mut self.site, &mut self.settings.site);
        set(&mut site.engines, file.engine.map(|engines| engines.0));
        set(&mut site.key, file.key.map(|key| key.0));
        set(&mut site.group, file.group.map(|group| group.0));
        set(&mut site.prefix, file.prefix.map(|prefix| prefix.0));
        set(&mut site.ttl_floor, file.ttl_floor);
        set(&mut site.rate, file.rate.map(|rate| u32::try_from(rate.0).unwrap_or(u32::MAX)));
        site.ca_file = file.ca_file.map_or(site.ca_file.take(), |file| file.0);
        set(&mut core.wait, file.wait);
        set(&mut core.asks, file.ask);
        core.is_on = !site.engines.is_empty();
        if let Some(names) = file.domains {
            core.domains = names.iter().map(|name| name.parsed.name).collect();
            self.findings.hints.extend(names.into_iter().filter_map(|name| name.hint));
        }
    }

    fn merge_sort(&mut self, sort: file::SortFile) {
        set(&mut self.sort.enabled, sort.enabled);
        set(&mut self.sort.probes, sort.probes.map(|probes| probes.0));
        set(&mut self.sort.timeout, sort.timeout);
        set(&mut self.sort.remeasure, sort.remeasure);
        set(&mut self.sort.private, sort.private);
        set(&mut self.sort.rate, sort.rate.map(|rate| u32::try_from(rate.0).unwrap_or(u32::MAX)));
        set(&mut self.sort.hysteresis, sort.hysteresis);
        set(&mut self.sort.family_margin, sort.family_margin);
        set(&mut self.sort.withhold, sort.withhold);
        set(&mut self.sort.families, sort.families);
        self.settings.families.order = self.sort.families;
        let margin_us = u32::try_from(self.sort.family_margin.as_micros()).unwrap_or(u32::MAX);
        self.settings.families.withhold_above_us = self.sort.withhold.then_some(margin_us);
        set(&mut self.sort.tls_rate, sort.tls_rate);
        if let Some(names) = sort.tls_except {
            self.sort.tls_except = names.iter().map(|name| name.parsed.name).collect();
            self.findings.hints.extend(names.into_iter().filter_map(|name| name.hint));
        }
    }

    fn merge_rebinding(&mut self, file: file::RebindingFile) {
        let rebinding = &mut self.settings.rebinding;
        rebinding.protect = file.protect.unwrap_or(rebinding.protect);
        if let Some(names) = file.allow {
            rebinding.allow = names.iter().map(|name| name.parsed.name).collect();
            self.findings.hints.extend(names.into_iter().filter_map(|name| name.hint));
        }
    }

    fn merge_domains(&mut self, domains: Vec<file::Domain>, all: &mut Gathered) {
        for block in domains {
            let upstreams: Vec<_> = block.upstreams.into_iter().map(|upstream| upstream.0).collect();
            for name in block.names.0 {
                all.add_domain(name.parsed.name, &upstreams);
                self.findings.hints.extend(name.hint);
            }
        }
    }

    fn merge_local(&mut self, hosts: file::HostsFile, blocks: Vec<file::BlockFile>) {
        if let Some(files) = hosts.files {
            self.hosts.files = files.into_iter().map(|file| file.0).collect();
        }
        self.hosts.own_name = hosts.own_name.unwrap_or(self.hosts.own_name);
        for block in blocks {
            let covers = block.covers.0;
            let names = block.names.into_iter().map(|Blocked(name)| {
                self.findings.hints.extend(name.hint);
                (name.parsed.name, if name.parsed.wildcard { Match::Subtree } else { covers })
            });
            let names = names.collect();
            let files = block.files.into_iter().map(|file| file.0).collect();
            self.blocks.push(Block { files, names, covers, verdict: block.answer.0 });
        }
    }
}
