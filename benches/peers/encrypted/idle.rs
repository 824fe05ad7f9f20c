//! The memory of a daemon with warm connections to encrypted upstreams, compared with plain ones, and
//! how often it wakes up when nobody asks it.

use super::kinds::{TRANSPORTS, Transport};
use crate::load::{self, Load, Until};
use crate::rigs::{Bench, closed};
use crate::roles::Manner;
use crate::servers::Server;
use std::time::Duration;

const UPSTREAMS: usize = 4;
const ENTRIES: usize = 65_536;
/// The time after which a daemon without queries has closed what it does not need.
const QUIET: Duration = Duration::from_secs(70);
const IDLE: Duration = Duration::from_secs(30);

/// A line of a file of the process, in its unit; 0 if it cannot be read.
fn number_in(server: &Server, file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", server.id())).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// How often threads of the process have been given a processor so far.
fn switches(server: &Server) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).into_iter().flatten().flatten();
    let of_task = |id: &str| {
        ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"]
            .map(|key| number_in(server, &format!("task/{id}/status"), key))
            .iter()
            .sum::<u64>()
    };
    tasks.map(|task| of_task(&task.file_name().to_string_lossy())).sum()
}

impl Bench {
    pub fn idle(&mut self) {
        let mut live = Vec::new();
        for transport in TRANSPORTS {
            if !self.is_wanted(transport.hither()) {
                continue;
            }
            let upstreams: Vec<_> =
                (0..UPSTREAMS).map(|_| self.upstream_by(transport, Manner::delayed(1))).collect();
            let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.1).collect();
            let Some(server) = self.start_one(transport.hither(), &addresses, ENTRIES, "0") else { continue };
            let names = self.next_names(10_000);
            load::run(server.address, Load { until: Until::Count(10_000), ..closed(names, 100) });
            let kib = |key| number_in(&server, "smaps_rollup", key) as f64 / 1024.0;
            let figures =
                [("anonymous, warm", kib("Anonymous:"), "MiB"), ("proportional, warm", kib("Pss:"), "MiB")];
            self.report.add("idle", server.name, 0, &figures);
            live.push((server, upstreams));
        }
        std::thread::sleep(Duration::from_secs(1));
        let count =
            |live: &[(Server, _)]| live.iter().map(|(server, _)| switches(server)).collect::<Vec<_>>();
        let first = count(&live);
        std::thread::sleep(IDLE);
        let second = count(&live);
        std::thread::sleep(QUIET - IDLE);
        let third = count(&live);
        std::thread::sleep(IDLE);
        let last = count(&live);
        for (n, (server, _)) in live.iter().enumerate() {
            let figures = [
                ("wake-ups in the first 30 s", (second[n] - first[n]) as f64, "times"),
                ("wake-ups from 70 to 100 s", (last[n] - third[n]) as f64, "times"),
            ];
            self.report.add("idle", server.name, 0, &figures);
        }
        self.report.table("idle", Transport::Udp.hither().name);
    }
}
