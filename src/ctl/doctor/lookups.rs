//! Judges how glibc looks names up: nsswitch.conf, the NSS module, and nscd, which is asked before both.

use super::facts::Facts;
use super::finding::Finding;
use crate::ctl::nsswitch::{self, LineError};

/// A finding for each; for nscd only if it runs.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![hosts_line(facts), module(facts)];
    findings.extend(nscd(facts));
    findings
}

fn hosts_line(facts: &Facts) -> Finding {
    let check = "nsswitch.conf";
    let text = match &facts.lookups.nsswitch {
        Ok(text) => text,
        Err(why) => return Finding::unknown(check, format!("cannot be read: {why}")),
    };
    let shown = nsswitch::shown(text).unwrap_or_default();
    match nsswitch::is_enabled(text) {
        Ok(true) => Finding::ok(check, format!("hosts: {shown}")),
        Ok(false) => {
            let found = Finding::warning(
                check,
                format!("hosts: {shown}: without hither, so that programs reach it by DNS alone"),
            );
            let effect = nsswitch::effect(text).unwrap_or_default();
            // Other effects take nothing away.
            let takes_away = effect.strip_prefix("takes away: ").unwrap_or_default();
            if facts.lookups.module.loadable {
                found.fixed_by("hitherctl enable-nss").taking_away(takes_away)
            } else {
                found
            }
        }
        Err(error @ LineError::Late(..)) => Finding::warning(check, format!("hosts: {shown}: {error}"))
            .fixed_by("hitherctl disable-nss && hitherctl enable-nss"),
        Err(error) => Finding::warning(check, format!("{error}; hitherctl enable-nss does not change it")),
    }
}

fn module(facts: &Facts) -> Finding {
    let check = "NSS module";
    let module = &facts.lookups.module;
    let named = facts.lookups.nsswitch.as_ref().is_ok_and(|text| nsswitch::is_enabled(text).unwrap_or(false));
    match (&module.path, module.loadable) {
        (Some(path), true) => Finding::ok(check, path.display().to_string()),
        (Some(path), false) => Finding::warning(
            check,
            format!("{}, where the dynamic loader does not search yet", path.display()),
        )
        .fixed_by("ldconfig"),
        (None, _) if named => Finding::warning(
            check,
            "libnss_hither.so.2 is not installed, though nsswitch.conf names it; glibc skips it",
        )
        .fixed_by("hitherctl disable-nss"),
        (None, _) => Finding::ok(check, "libnss_hither.so.2 is not installed"),
    }
}

fn nscd(facts: &Facts) -> Option<Finding> {
    let check = "nscd";
    if !facts.lookups.nscd {
        return None;
    }
    if facts.is_active("nsncd.service") {
        return Some(Finding::ok(
            check,
            "nsncd answers for glibc, and asks the module itself without a cache",
        ));
    }
    let caches = facts.lookups.nscd_conf.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // The last such line counts; without one nscd does not cache.
    let mut caches = caches.filter_map(|words| match words.as_slice() {
        ["enable-cache", "hosts", value, ..] => Some(*value == "yes"),
        _ => None,
    });
    if !caches.next_back().unwrap_or(false) {
        return Some(Finding::ok(check, "runs, but not for names of hosts"));
    }
    let found = "answers for glibc before the module and caches, so that programs see neither hither's order nor its changes";
    let fix = r"sed -i 's/^\([[:space:]]*enable-cache[[:space:]]*hosts[[:space:]]*\)yes/\1no/' /etc/nscd.conf && systemctl restart nscd.service";
    Some(Finding::warning(check, found).fixed_by(fix))
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::faultless;
    use super::super::finding::State;
    use super::super::finding::tests::{assert_no_fault, finding_of};
    use super::*;
    use std::path::PathBuf;

    fn of(facts: &Facts, check: &str) -> (State, String, String) {
        finding_of(judge(facts), check)
    }

    #[test]
    fn a_faultless_host_needs_no_fix() {
        assert_no_fault(&judge(&faultless()));
    }

    #[test]
    fn a_hosts_line_without_hither_or_with_it_too_late_has_its_command() {
        let mut facts = faultless();
        let mut with = |text: &str| {
            facts.lookups.nsswitch = Ok(text.as_bytes().to_vec());
            of(&facts, "nsswitch.conf")
        };
        let (state, found, fix) = with("hosts: files dns\n");
        assert_eq!((state, fix.as_str()), (State::Warning, "hitherctl enable-nss"));
        assert!(found.starts_with("hosts: files dns: without hither"));
        assert_eq!(with("hosts: files dns hither\n").2, "hitherctl disable-nss && hitherctl enable-nss");
        assert!(with("passwd: files\n").1.contains("no hosts line"));
        facts.lookups.nsswitch = Err("permission denied".to_owned());
        assert_eq!(of(&facts, "nsswitch.conf").0, State::Unknown);
    }

    #[test]
    fn only_the_effect_of_enable_nss_is_reported_as_taken_away() {
        let mut facts = faultless();
        let mut with = |text: &str| {
            facts.lookups.nsswitch = Ok(text.as_bytes().to_vec());
            let found = judge(&facts).into_iter().find(|finding| finding.check == "nsswitch.conf");
            let found = found.expect("judged");
            (found.fix.is_some(), found.takes_away.unwrap_or_default())
        };
        assert_eq!(with("hosts: files dns wins\n"), (true, String::new()), "which is still asked");
        assert_eq!(with("hosts: files dns\n").1, "dns is no longer asked for names that hither denies");
    }

    #[test]
    fn a_missing_module_is_not_recommended() {
        let mut facts = faultless();
        facts.lookups.module.loadable = false;
        assert_eq!(of(&facts, "NSS module").2, "ldconfig");
        facts.lookups.module.path = None;
        assert_eq!(of(&facts, "NSS module").2, "hitherctl disable-nss");
        facts.lookups.nsswitch = Ok(b"hosts: files dns\n".to_vec());
        assert_eq!(of(&facts, "NSS module").0, State::Ok);
        assert_eq!(of(&facts, "nsswitch.conf").2, "");
        facts.lookups.module.path = Some(PathBuf::from("/usr/local/lib/libnss_hither.so.2"));
        assert_eq!(of(&facts, "NSS module").0, State::Warning);
    }

    #[test]
    fn nscd_gets_a_warning_if_it_caches_hosts() {
        let mut facts = faultless();
        facts.lookups.nscd = true;
        assert_eq!(of(&facts, "nscd").0, State::Ok);
        facts.lookups.nscd_conf = "# enable-cache hosts no\n\tenable-cache\thosts\tyes\n".to_owned();
        let (state, _, fix) = of(&facts, "nscd");
        assert_eq!(state, State::Warning);
        assert!(fix.starts_with("sed -i ") && fix.ends_with("systemctl restart nscd.service"));
        facts.units().put("nsncd.service", "active", "enabled");
        assert_eq!(of(&facts, "nscd").0, State::Ok);
    }
}
