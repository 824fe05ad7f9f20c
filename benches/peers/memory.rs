//! The memory of a cached name and of an idle daemon, and a check that the configured bound holds.

use super::load::{self, Load, Names, Until};
use super::rigs::{Bench, closed};
use super::servers::{HITHER, KINDS, Kind, Server, queries_of};
use hither_wire::codes::Rtype;
use std::net::SocketAddr;

const NAMES: u64 = 1_000_000;
/// The configured bound, in names, of the measurement of the bound.
const BOUND: u64 = 200_000;
/// Names that table and answer cache hold by default.
const DEFAULT: usize = 65_536;

fn mib(octets: u64) -> f64 {
    octets as f64 / f64::from(1 << 20)
}

/// Octets that the process occupies beside the pages of the table file.
fn beside_the_table(server: &Server) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/smaps", server.id())).unwrap_or_default();
    let mut lines = maps.lines().skip_while(|line| !line.ends_with("/hosts"));
    let pages = lines.find_map(|line| line.strip_prefix("Rss:"));
    let pages = pages.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    server.memory().saturating_sub(pages * 1024)
}

impl Bench {
    pub fn memory(&mut self) {
        let (one, two) = (self.upstream(0, 0, 1), self.upstream(0, 0, 2));
        let all: Vec<&str> = KINDS[4..].iter().map(|k| k.name).filter(|name| !name.contains(", ")).collect();
        let all = [&[HITHER][..], &all].concat();
        for kind in self.wanted(&all) {
            self.names_of_one_address(kind, one.1);
        }
        self.report.table("memory", HITHER);
        let Some(kind) = self.wanted(&[HITHER]).pop() else { return };
        let kinds = [
            ("A", &[Rtype::A][..], one.1),
            ("2 A and 2 AAAA", &[Rtype::A, Rtype::AAAA], two.1),
            ("TXT", &[Rtype::TXT], two.1),
        ];
        for (what, rtypes, upstream) in &kinds[1..] {
            self.names_of(kind, (what, rtypes), *upstream);
        }
        self.report.table("memory of hither", "");
        for (what, rtypes, upstream) in kinds {
            self.beyond_the_bound(kind, (what, rtypes), upstream);
        }
        self.report.table("memory and the configured bound", "");
        let Some(server) = self.start_one(kind, &[one.1], DEFAULT, "0") else { return };
        let figures = [("idle beyond the table file", mib(beside_the_table(&server)), "MiB")];
        self.report.add("memory of an idle daemon", HITHER, 0, &figures);
        server.stop();
        self.report.table("memory of an idle daemon", "");
    }

    fn names_of_one_address(&mut self, kind: &Kind, upstream: SocketAddr) {
        let Some(server) = self.start_one(kind, &[upstream], NAMES as usize, "0") else { return };
        let empty = server.memory();
        let before = queries_of(upstream);
        Self::fill(&server, 0..100_000, Rtype::A);
        let hundred = server.memory();
        Self::fill(&server, 100_000..NAMES, Rtype::A);
        let full = server.memory();
        let asked = queries_of(upstream);
        let again = Load { until: Until::Count(20_000), ..closed(Names::Of(NAMES), 50) };
        load::run(server.address, again);
        let held = 1.0 - (queries_of(upstream) - asked) as f64 / 20_000.0;
        self.report.add(
            "memory",
            server.name,
            0,
            &[
                ("empty", mib(empty), "MiB"),
                ("100 k names", mib(hundred), "MiB"),
                ("1 M names", mib(full), "MiB"),
                ("a name, in all", full as f64 / NAMES as f64, "octets"),
                ("a name, 100 k to 1 M", (full - hundred) as f64 / (NAMES - 100_000) as f64, "octets"),
                ("held", held, "share"),
                ("queries upstream a name", (asked - before) as f64 / NAMES as f64, "queries"),
            ],
        );
        server.stop();
    }

    fn names_of(&mut self, kind: &Kind, (what, rtypes): (&'static str, &[Rtype]), upstream: SocketAddr) {
        let Some(server) = self.start_one(kind, &[upstream], NAMES as usize, "0") else { return };
        let empty = server.memory();
        rtypes.iter().for_each(|rtype| Self::fill(&server, 0..100_000, *rtype));
        let hundred = server.memory();
        rtypes.iter().for_each(|rtype| Self::fill(&server, 100_000..NAMES, *rtype));
        let full = server.memory();
        let file = std::fs::metadata(self.dir_of(&server).join("hosts")).map_or(0, |file| file.len());
        let asked = queries_of(upstream);
        for rtype in rtypes {
            let again = Load { rtype: *rtype, until: Until::Count(20_000), ..closed(Names::Of(NAMES), 50) };
            load::run(server.address, again);
        }
        let held = 1.0 - (queries_of(upstream) - asked) as f64 / (20_000 * rtypes.len()) as f64;
        self.report.add(
            "memory of hither",
            what,
            0,
            &[
                ("empty", mib(empty), "MiB"),
                ("100 k names", mib(hundred), "MiB"),
                ("1 M names", mib(full), "MiB"),
                ("the table file", mib(file), "MiB"),
                ("beside it", mib(beside_the_table(&server)), "MiB"),
                ("a name, in all", full as f64 / NAMES as f64, "octets"),
                ("held", held, "share"),
            ],
        );
        server.stop();
    }

    /// Asks for as many names as are configured, then for three times as many.
    fn beyond_the_bound(
        &mut self,
        kind: &Kind,
        (what, rtypes): (&'static str, &[Rtype]),
        upstream: SocketAddr,
    ) {
        let Some(server) = self.start_one(kind, &[upstream], BOUND as usize, "0") else { return };
        rtypes.iter().for_each(|rtype| Self::fill(&server, 0..BOUND, *rtype));
        let full = server.memory();
        rtypes.iter().for_each(|rtype| Self::fill(&server, BOUND..3 * BOUND, *rtype));
        let beyond = server.memory();
        self.report.add(
            "memory and the configured bound",
            what,
            0,
            &[
                ("at the bound", mib(full), "MiB"),
                ("at three times the bound", mib(beyond), "MiB"),
                ("more than at the bound", (beyond as f64 / full as f64 - 1.0) * 100.0, "%"),
            ],
        );
        server.stop();
    }
}
