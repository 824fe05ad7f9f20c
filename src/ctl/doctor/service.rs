//! Judges hither itself: configuration, daemon, sorter, table, and ICMP for the sorter.

use super::facts::{Answering, Configuration, Daemon, Facts, Table};
use super::finding::Finding;
use super::ports::ENABLE;
use super::units::Systemd;
use crate::ctl::ask;
use hither_control::counted;

/// A finding for each part.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    vec![configuration(facts), daemon(facts), sorter(facts), table(facts), icmp(facts)]
}

fn configuration(facts: &Facts) -> Finding {
    let check = "configuration";
    match &facts.config {
        Configuration::Good(_) => Finding::ok(check, "right"),
        Configuration::Bad(why) => Finding::problem(
            check,
            format!("{why}; hitherd keeps its present configuration, and cannot start with this one"),
        ),
        Configuration::Hidden(why) => Finding::unknown(check, why.clone()).fixed_by("sudo hitherctl doctor"),
    }
}

fn daemon(facts: &Facts) -> Finding {
    let check = "hitherd";
    match (&facts.daemon, &facts.systemd) {
        (Daemon::Answers(daemon), _) if !daemon.problems.is_empty() => {
            Finding::warning(check, format!("{}; but {}", up(daemon), daemon.problems.join("; ")))
        }
        (Daemon::Answers(daemon), Systemd::Running(_)) => running(facts, daemon),
        (Daemon::Answers(daemon), _) => Finding::ok(check, format!("{}, without systemd", up(daemon))),
        (Daemon::Stopped, _) => stopped(facts),
        (Daemon::Silent(why), _) if facts.is_active("hitherd.service") => {
            Finding::problem(check, format!("runs but does not answer: {why}"))
                .fixed_by("systemctl restart hitherd.service")
        }
        (Daemon::Silent(why), Systemd::Silent(silence)) => {
            Finding::problem(check, format!("does not answer: {why}; nor does systemd: {silence}"))
        }
        (Daemon::Silent(_), Systemd::Running(_)) if facts.unit("hitherd.service").is_some() => stopped(facts),
        (Daemon::Silent(why), Systemd::Running(_)) => {
            Finding::problem(check, format!("does not answer: {why}; hitherd.service is not installed"))
        }
        (Daemon::Silent(why), Systemd::Absent) => Finding::problem(
            check,
            format!("does not answer: {why}; there is no systemd, start hitherd --with-sorter"),
        ),
    }
}

fn up(daemon: &Answering) -> String {
    format!("answers: process {}, up {} s", daemon.pid, daemon.uptime_s)
}

/// The finding for a daemon that answers: whether it will be started at boot.
fn running(facts: &Facts, daemon: &Answering) -> Finding {
    let (check, up) = ("hitherd", up(daemon));
    if !facts.is_active("hitherd.service") {
        return Finding::ok(check, format!("{up}; not started by systemd"));
    }
    let units = ["hitherd.socket", "hitherd.service"];
    let off: Vec<&str> =
        units.into_iter().filter(|name| facts.unit(name).is_some_and(|unit| !unit.is_enabled())).collect();
    if off.is_empty() {
        Finding::ok(check, up)
    } else {
        Finding::warning(check, format!("{up}; but {} will not be started at boot", off.join(" and ")))
            .fixed_by("systemctl enable hitherd.socket hitherd.service hither-sorter.service")
    }
}

fn stopped(facts: &Facts) -> Finding {
    let check = "hitherd";
    let state = |name| facts.unit(name).map_or("not installed", |unit| unit.active.as_str());
    match (state("hitherd.socket"), state("hitherd.service")) {
        ("active", "inactive" | "deactivating") => Finding::ok(check, "is stopped; the next query starts it"),
        ("failed", _) | (_, "failed") => {
            Finding::problem(check, "has failed: journalctl -b -u hitherd.socket -u hitherd.service says why")
                .fixed_by("systemctl restart hitherd.socket hitherd.service")
        }
        (socket, service) => Finding::problem(
            check,
            format!("does not run: hitherd.socket is {socket}, hitherd.service is {service}"),
        )
        .fixed_by(ENABLE),
    }
}

fn sorter(facts: &Facts) -> Finding {
    let check = "hither-sorter";
    if matches!(&facts.config, Configuration::Good(config) if !config.sort.enabled) {
        return Finding::ok(check, "off: sort.enabled is false");
    }
    let Daemon::Answers(daemon) = &facts.daemon else {
        return Finding::unknown(check, "only hitherd knows whether it is connected");
    };
    match daemon.sorter {
        Some(pid) => Finding::ok(check, format!("connected: process {pid}")),
        None if daemon.sorter_starts && is_starting(facts) => {
            Finding::ok(check, "starting: not connected yet")
        }
        None => {
            let found = Finding::warning(check, "not connected: addresses are not sorted by measurements");
            if facts.is_active("hither-sorter.service") {
                found.fixed_by("systemctl restart hither-sorter.service")
            } else if facts.unit("hither-sorter.service").is_some() {
                found.fixed_by("systemctl enable --now hither-sorter.service")
            } else {
                found
            }
        }
    }
}

/// Whether the sorter is being started; `true` if that is not known.
fn is_starting(facts: &Facts) -> bool {
    facts.unit("hither-sorter.service").is_none() || facts.is_active("hither-sorter.service")
}

fn table(facts: &Facts) -> Finding {
    let check = "table";
    let daemon = match &facts.daemon {
        Daemon::Answers(daemon) => Some(daemon),
        Daemon::Stopped | Daemon::Silent(_) => None,
    };
    match &facts.table {
        Table::Open { entries, damaged: 0, owner, live } => {
            let writer = if *live { "" } else { "; its daemon has stopped" };
            let entries = counted(*entries as u64, "entry", "entries");
            Finding::ok(check, format!("{entries}, none damaged, of user {owner}{writer}"))
        }
        Table::Open { entries, damaged, .. } => Finding::problem(
            check,
            format!(
                "{damaged} of {} damaged; a restarted hitherd drops damaged entries",
                counted(*entries as u64, "entry is", "entries are")
            ),
        )
        .fixed_by("systemctl restart hitherd.service"),
        Table::Hidden => Finding::unknown(check, "this user may not read it (table.mode in hither.toml(5))")
            .fixed_by("sudo hitherctl doctor"),
        Table::Missing => match daemon.map(|daemon| ask::table_problem(&daemon.problems)) {
            None => Finding::ok(check, "none; hitherd creates it when it starts"),
            Some(Some(why)) => Finding::problem(check, format!("none: {why}")),
            Some(None) => Finding::problem(
                check,
                "none, though hitherd answers; does it use another runtime_dir, or may this user not see it?",
            ),
        },
        Table::Exposed { dir, why } => Finding::problem(check, format!("programs do not read it: {why}"))
            .fixed_by(format!("chmod go-w {}", dir.display())),
        Table::Bad(why) => Finding::problem(check, format!("cannot be read: {why}"))
            .fixed_by("systemctl restart hitherd.service"),
    }
}

fn icmp(facts: &Facts) -> Finding {
    let check = "ICMP";
    let file = "/etc/sysctl.d/50-hither.conf";
    let allow = format!("echo 'net.ipv4.ping_group_range = 0 2147483647' > {file} && sysctl -p {file}");
    // The sorter opens its sockets only when it is started.
    let restart = facts.unit("hither-sorter.service").map(|_| "systemctl restart hither-sorter.service");
    let is_icmp = |lack: &&String| lack.starts_with("ICMP");
    let lacks = match &facts.daemon {
        Daemon::Answers(daemon) if daemon.sorter.is_some() => {
            Some(daemon.lacks.iter().filter(is_icmp).cloned().collect::<Vec<_>>())
        }
        _ => None,
    };
    let range = facts.ping.groups;
    let allowed = range.is_some_and(|(first, last)| match facts.ping.sorter {
        Some(group) => (first..=last).contains(&group),
        None => first <= last,
    });
    match (range, allowed, lacks.as_deref()) {
        (_, _, Some([])) => Finding::ok(check, "the sorter may send it"),
        // Without the other family the host may have no address of it.
        (_, true, Some([lack])) => Finding::ok(check, format!("the sorter may send it, but not {lack}")),
        (_, true, Some(lacks)) => {
            let found = format!("it is allowed, but the sorter was started without: {}", lacks.join(", "));
            Finding { fix: restart.map(str::to_owned), ..Finding::warning(check, found) }
        }
        (_, true, None) => Finding::ok(check, "net.ipv4.ping_group_range allows it"),
        (None, false, _) => Finding::unknown(check, "net.ipv4.ping_group_range cannot be read"),
        (Some((first, last)), false, _) => {
            let range = format!("net.ipv4.ping_group_range is {first} {last}");
            Finding::warning(check, format!("{range}, without the sorter's group: it measures by TCP alone"))
                .fixed_by(restart.map_or(allow.clone(), |restart| format!("{allow} && {restart}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::faultless;
    use super::super::finding::State;
    use super::super::finding::tests::{assert_no_fault, finding_of};
    use super::*;

    fn of(facts: &Facts, check: &str) -> (State, String, String) {
        finding_of(judge(facts), check)
    }

    #[test]
    fn a_faultless_host_needs_no_fix() {
        assert_no_fault(&judge(&faultless()));
    }

    #[test]
    fn a_daemon_that_is_not_started_at_boot_gets_a_warning() {
        let mut facts = faultless();
        facts.units().put("hitherd.socket", "active", "disabled");
        let (state, found, fix) = of(&facts, "hitherd");
        assert_eq!(state, State::Warning);
        assert!(
            found.contains("hitherd.socket will not be started at boot")
                && fix.starts_with("systemctl enable ")
        );
        facts.units().put("hitherd.service", "inactive", "disabled");
        assert!(
            of(&facts, "hitherd").1.contains("not started by systemd"),
            "started by hand, it need not be enabled"
        );
    }

    #[test]
    fn stopped_failed_and_silent_daemons_have_different_findings() {
        let mut facts = faultless();
        facts.daemon = Daemon::Stopped;
        facts.units().put("hitherd.service", "inactive", "enabled");
        assert_eq!(of(&facts, "hitherd").0, State::Ok, "the socket unit starts it");
        facts.units().put("hitherd.socket", "inactive", "disabled");
        assert_eq!(
            of(&facts, "hitherd"),
            (
                State::Problem,
                "does not run: hitherd.socket is inactive, hitherd.service is inactive".to_owned(),
                ENABLE.to_owned()
            )
        );
        facts.units().put("hitherd.socket", "failed", "enabled");
        assert!(of(&facts, "hitherd").1.contains("journalctl"));
        facts.units().put("hitherd.service", "active", "enabled");
        facts.daemon = Daemon::Silent("timed out".to_owned());
        let (state, found, fix) = of(&facts, "hitherd");
        assert_eq!((state, fix.as_str()), (State::Problem, "systemctl restart hitherd.service"));
        assert!(found.contains("timed out"));
        facts.systemd = Systemd::Absent;
        assert!(of(&facts, "hitherd").1.contains("--with-sorter"));
        facts.systemd = Systemd::Silent("no answer".to_owned());
        assert!(of(&facts, "hitherd").1.contains("nor does systemd: no answer"));
    }

    #[test]
    fn a_missing_sorter_is_a_warning_and_a_disabled_one_is_ok() {
        let mut facts = faultless();
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.sorter = None;
        daemon.sorter_starts = true;
        assert_eq!(of(&facts, "hither-sorter").0, State::Ok, "a start takes a moment");
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.sorter_starts = false;
        assert_eq!(of(&facts, "hither-sorter").2, "systemctl restart hither-sorter.service");
        facts.units().put("hither-sorter.service", "inactive", "disabled");
        let (state, _, fix) = of(&facts, "hither-sorter");
        assert_eq!((state, fix.as_str()), (State::Warning, "systemctl enable --now hither-sorter.service"));
        let config = crate::config::check_text("[sort]\nenabled = false").expect("right");
        facts.config = Configuration::Good(Box::new(config));
        assert_eq!(of(&facts, "hither-sorter").0, State::Ok);
        facts.config = Configuration::Bad("hither.toml:1: no".to_owned());
        assert_eq!(of(&facts, "configuration").0, State::Problem);
        facts.daemon = Daemon::Stopped;
        assert_eq!(of(&facts, "hither-sorter").0, State::Unknown);
    }

    #[test]
    fn a_table_is_read_missing_hidden_or_bad() {
        let mut facts = faultless();
        let open = |damaged| Table::Open { entries: 9, damaged, owner: "hither".to_owned(), live: false };
        for (table, state, says) in [
            (open(0), State::Ok, "its daemon has stopped"),
            (open(2), State::Problem, "2 of 9 entries are damaged"),
            (Table::Hidden, State::Unknown, "table.mode"),
            (Table::Missing, State::Problem, "runtime_dir"),
            (Table::Bad("not a table".to_owned()), State::Problem, "cannot be read: not a table"),
            (
                Table::Exposed { dir: "/run/hither".into(), why: "group can write".to_owned() },
                State::Problem,
                "do not read it: group can write",
            ),
        ] {
            facts.table = table;
            let found = of(&facts, "table");
            assert!(found.0 == state && found.1.contains(says), "{found:?}");
        }
        (facts.daemon, facts.table) = (Daemon::Stopped, Table::Missing);
        assert_eq!(of(&facts, "table").0, State::Ok);
    }

    #[test]
    fn icmp_is_judged_by_the_sorters_report_or_else_by_the_groups() {
        let mut facts = faultless();
        facts.ping.groups = Some((1, 0));
        assert_eq!(of(&facts, "ICMP").0, State::Ok, "by a capability");
        let Daemon::Answers(daemon) = &mut facts.daemon else { panic!("it answers") };
        daemon.lacks = vec!["ICMPv4".to_owned(), "ICMPv6".to_owned()];
        let (state, found, fix) = of(&facts, "ICMP");
        assert_eq!(state, State::Warning);
        assert!(found.contains("is 1 0") && fix.contains("sysctl -p /etc/sysctl.d/50-hither.conf"));
        facts.ping.groups = Some((0, 2_147_483_647));
        assert_eq!(of(&facts, "ICMP").2, "systemctl restart hither-sorter.service");
        facts.daemon = Daemon::Stopped;
        assert_eq!(of(&facts, "ICMP").0, State::Ok);
        facts.ping.groups = Some((100, 200));
        assert_eq!(of(&facts, "ICMP").0, State::Warning, "the sorter's group is 990");
        facts.ping.sorter = None;
        assert_eq!(of(&facts, "ICMP").0, State::Ok, "all groups are allowed");
        facts.ping.groups = None;
        assert_eq!(of(&facts, "ICMP").0, State::Unknown);
    }
}
