//! Judges what is shared with other hosts: the companion, its engine, what it refuses, and its secrets.

use super::facts::{Configuration, Daemon, Facts};
use super::finding::Finding;
use hither_control::{SiteRefused, SiteStatus, counted};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const UNIT: &str = "hither-site.service";
/// The credential with the password of the engine.
const PASSWORD: &str = "site.password";
/// Where systemd finds credentials by their names.
const STORES: [&str; 3] = ["etc/credstore", "run/credstore", "usr/lib/credstore"];
/// Permissions of group and others to read or write.
const OTHERS: u32 = 0o066;

/// The findings, if an engine is configured or the companion is connected.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let is_configured =
        matches!(&facts.config, Configuration::Good(config) if !config.site.engines.is_empty());
    let status = match &facts.daemon {
        Daemon::Answers(daemon) => daemon.site.as_deref(),
        Daemon::Stopped | Daemon::Silent(_) => None,
    };
    if !is_configured && status.is_none() {
        return Vec::new();
    }
    let mut findings = vec![companion(facts, status)];
    findings.extend(status.into_iter().flat_map(refusals));
    findings.extend(facts.exposed.iter().map(|path| {
        let path = path.display();
        Finding::problem("site secrets", format!("other users can read or write '{path}'"))
            .fixed_by(format!("chmod go= '{path}'"))
    }));
    findings
}

fn companion(facts: &Facts, status: Option<&SiteStatus>) -> Finding {
    let check = "hither-site";
    let Some(status) = status else {
        return match &facts.daemon {
            Daemon::Answers(_) => Finding::warning(check, "the engine in hither.toml is not in force yet")
                .fixed_by("systemctl reload hitherd.service"),
            Daemon::Stopped | Daemon::Silent(_) => {
                Finding::unknown(check, "only hitherd knows whether it is connected")
            }
        };
    };
    let Some(pid) = status.pid else {
        let found = Finding::warning(check, "not connected: answers are not shared with other hosts");
        return match (facts.unit(UNIT), facts.is_active(UNIT)) {
            (_, true) => found.fixed_by(format!("systemctl restart {UNIT}")),
            (Some(_), false) => found.fixed_by(format!("systemctl enable --now {UNIT}")),
            (None, false) => found.prefixed("the package hither-site may be missing; "),
        };
    };
    let report = &status.report;
    let why = report.problem.as_deref().unwrap_or("hither-site does not say why");
    let engine = &report.engine;
    match report.state.as_str() {
        "up" => Finding::ok(check, format!("process {pid}, as host {}, engine {engine} is up", report.host)),
        "read_only" => Finding::warning(
            check,
            format!(
                "engine {engine} takes no writes, so this host only receives: {why}; list the primary first"
            ),
        ),
        "refused" => Finding::problem(check, format!("it does not use engine {engine}: {why}")),
        "off" => Finding::warning(check, "it has no engine, though hither.toml names one")
            .fixed_by(format!("systemctl restart {UNIT}")),
        _ => Finding::warning(check, format!("engine {engine} does not answer: {why}")),
    }
}

/// A warning for each kind of refusal that an operator can put right.
fn refusals(status: &SiteStatus) -> Vec<Finding> {
    let SiteRefused { signature, clock, prefix, .. } = status.report.counts.refused;
    let found = [
        (
            "site key",
            signature,
            "not signed by the key of this host: give all hosts of the site the same site.key; \
             if they have it, somebody else writes into the engine",
        ),
        (
            "site clocks",
            clock,
            "from a host whose clock is off by more than their TTL: have the clocks of all hosts of the site \
             synchronised, and begin here with 'timedatectl'",
        ),
        (
            "site prefix",
            prefix,
            "of another site: give each site that shares this engine a prefix of its own, or all hosts of one \
             site the same",
        ),
    ];
    let refused = |count| counted(count, "set was refused", "sets were refused");
    let found = found.into_iter().filter(|(_, count, _)| *count > 0);
    found.map(|(check, count, why)| Finding::warning(check, format!("{}, {why}", refused(count)))).collect()
}

/// The files of the key, which is a credential or a path, and of the password that other users may read or
/// write.
pub(super) fn exposed(key: &str, root: &Path) -> Vec<PathBuf> {
    let in_stores = |name: &str| STORES.map(|store| Path::new("/").join(store).join(name));
    let mut paths = in_stores(PASSWORD).to_vec();
    if key.starts_with('/') {
        paths.push(key.into());
    } else {
        paths.extend(in_stores(key));
    }
    let is_exposed = |path: &PathBuf| {
        let here = root.join(path.strip_prefix("/").unwrap_or(path));
        std::fs::metadata(here).is_ok_and(|found| found.mode() & OTHERS != 0)
    };
    paths.into_iter().filter(is_exposed).collect()
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::faultless;
    use super::super::finding::State;
    use super::*;
    use hither_control::{SiteCounts, SiteReport};
    use std::os::unix::fs::PermissionsExt as _;

    fn host(state: &str) -> Facts {
        let mut facts = faultless();
        let config = crate::config::check_text("[site]\nengine = \"valkey://192.0.2.7\"").expect("right");
        facts.config = Configuration::Good(Box::new(config));
        let problem = Some("no key in site.key".to_owned());
        let report = SiteReport { state: state.to_owned(), problem, ..SiteReport::default() };
        let status = SiteStatus { connected: true, pid: Some(77), report };
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.site = Some(Box::new(status));
        facts
    }

    fn site(facts: &mut Facts) -> &mut SiteStatus {
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.site.as_mut().expect("shared")
    }

    fn of(facts: &Facts, check: &str) -> (State, String, String) {
        super::super::finding::tests::finding_of(judge(facts), check)
    }

    #[test]
    fn a_host_that_shares_nothing_has_no_findings() {
        assert!(judge(&faultless()).is_empty());
    }

    #[test]
    fn each_state_of_the_engine_is_judged() {
        for (state, is, says) in [
            ("up", State::Ok, "is up"),
            ("read_only", State::Warning, "only receives: no key"),
            ("connecting", State::Warning, "does not answer: no key"),
            ("", State::Warning, "does not answer"),
            ("refused", State::Problem, "does not use engine"),
            ("off", State::Warning, "has no engine"),
        ] {
            let found = of(&host(state), "hither-site");
            assert!(found.0 == is && found.1.contains(says), "{state}: {found:?}");
        }
    }

    #[test]
    fn a_companion_that_is_not_connected_has_its_command() {
        let mut facts = host("up");
        site(&mut facts).pid = None;
        assert!(of(&facts, "hither-site").1.contains("the package hither-site may be missing"));
        facts.units().put(UNIT, "inactive", "disabled");
        assert_eq!(of(&facts, "hither-site").2, "systemctl enable --now hither-site.service");
        facts.units().put(UNIT, "active", "enabled");
        assert_eq!(of(&facts, "hither-site").2, "systemctl restart hither-site.service");
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.site = None;
        assert_eq!(of(&facts, "hither-site").2, "systemctl reload hitherd.service");
        facts.daemon = Daemon::Stopped;
        assert_eq!(of(&facts, "hither-site").0, State::Unknown);
    }

    #[test]
    fn refusals_that_an_operator_can_put_right_are_warnings() {
        let mut facts = host("up");
        assert_eq!(judge(&facts).len(), 1);
        let refused = SiteRefused { signature: 2, clock: 1, prefix: 3, expired: 9, ..SiteRefused::default() };
        site(&mut facts).report.counts = SiteCounts { refused, ..SiteCounts::default() };
        for (check, says) in [
            ("site key", "2 sets were refused, not signed"),
            ("site clocks", "1 set was refused, from a host whose clock"),
            ("site prefix", "3 sets"),
        ] {
            let (state, found, _) = of(&facts, check);
            assert!(state == State::Warning && found.contains(says), "{found}");
        }
    }

    #[test]
    fn secrets_that_others_can_read_are_problems() {
        let dir = std::env::temp_dir().join(format!("hither-site-doctor-{}", std::process::id()));
        let store = dir.join("etc/credstore");
        std::fs::create_dir_all(&store).expect("a directory");
        for (name, mode) in [("site.key", 0o640), ("site.password", 0o600), ("own", 0o604)] {
            std::fs::write(store.join(name), "secret").expect("written");
            std::fs::set_permissions(store.join(name), std::fs::Permissions::from_mode(mode)).expect("ours");
        }
        assert_eq!(exposed("site.key", &dir), [Path::new("/etc/credstore/site.key")]);
        assert_eq!(exposed("/etc/credstore/own", &dir), [Path::new("/etc/credstore/own")]);
        assert!(exposed("other.key", &dir).is_empty());
        let mut facts = host("up");
        facts.exposed = exposed("site.key", &dir);
        let (state, _, fix) = of(&facts, "site secrets");
        assert_eq!((state, fix.as_str()), (State::Problem, "chmod go= '/etc/credstore/site.key'"));
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
