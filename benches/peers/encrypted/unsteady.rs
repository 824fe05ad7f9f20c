//! Upstreams that lose answers, are dead, or reset connections: the time to the first answer, by each
//! transport, compared with UDP. And the longest wait of one query behind others on the same connection.

use super::await_upstream;
use super::kinds::{TRANSPORTS, Transport};
use super::trips::{FAR, NEAR, NOWHERE, Path};
use crate::load::{self, Load, Until};
use crate::rigs::{Bench, Upstream, open};
use crate::roles::Manner;
use std::net::SocketAddr;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(6);
const RESET_EVERY: u64 = 50;

/// The percentage of packets, or of answers, that are lost.
const LOSS: u64 = 10;

/// A set of upstreams.
struct Set {
    name: &'static str,
    manners: Vec<Manner>,
    /// Whether there is one more, which is dead.
    has_dead: bool,
    /// Whether the last one is reached by a path that loses packets.
    has_lossy_path: bool,
}

/// The quickest upstream is the last one.
fn sets() -> Vec<Set> {
    let [quick, middle, slow] = [5, 20, 80].map(Manner::delayed);
    let (lossy, resetting) = (Manner { loss: LOSS, ..quick }, Manner { reset_every: RESET_EVERY, ..quick });
    let set = |name, manners: &[Manner], has_dead| {
        let (manners, has_lossy_path) = (manners.to_vec(), false);
        Set { name, manners, has_dead, has_lossy_path }
    };
    let lossy_path = set("the path to 5 ms loses 10 %", &[slow, middle, quick], false);
    vec![
        set("80, 20 and 5 ms", &[slow, middle, quick], false),
        set("5 ms loses 10 %", &[slow, middle, lossy], false),
        Set { has_lossy_path: true, ..lossy_path },
        set("one is dead", &[slow, middle, quick], true),
        set("5 ms resets connections", &[slow, middle, resetting], false),
        set("all of these", &[slow, middle, lossy, resetting], true),
    ]
}

impl Bench {
    pub fn unsteady(&mut self) {
        let ended = std::thread::scope(|scope| scope.spawn(|| self.unsteady_in_own_network()).join());
        if let Ok(Err(why)) = ended {
            println!("MISSING unsteady upstreams: {why}");
        }
        self.stalls();
    }

    fn unsteady_in_own_network(&mut self) -> Result<(), String> {
        let _path = Path::make(0, LOSS)?;
        for set in sets() {
            for round in 0..self.rounds {
                for transport in TRANSPORTS {
                    self.unsteady_by(&set, transport, round);
                }
            }
            self.report.table(set.name, Transport::Udp.hither().name);
        }
        Ok(())
    }

    fn unsteady_by(&mut self, set: &Set, transport: Transport, round: usize) {
        let kind = transport.hither();
        if !self.is_wanted(kind) {
            return;
        }
        let upstreams: Vec<Upstream> =
            set.manners.iter().map(|manner| self.upstream_by(transport, *manner)).collect();
        let mut addresses: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.1).collect();
        let mut by_path = None;
        if let (true, Some(last), Some(manner)) =
            (set.has_lossy_path, addresses.last_mut(), set.manners.last())
        {
            let near = SocketAddr::from((NEAR, last.port()));
            by_path = Some(self.upstream_at(transport.role(), near, *manner));
            await_upstream(transport, near);
            last.set_ip(FAR.into());
        }
        if set.has_dead {
            addresses.insert(0, SocketAddr::from((NOWHERE, 853)));
        }
        let Some(server) = self.start_one(kind, &addresses, 50_000, "0") else { return };
        let names = self.next_names(10_000);
        let first = Load { until: Until::Count(50), timeout: PATIENCE, ..open(names, 100.0) };
        let first = load::run(server.address, first);
        let names = self.next_names(10_000);
        let rest = Load { until: Until::Count(600), timeout: PATIENCE, ..open(names, 300.0) };
        let rest = load::run(server.address, rest);
        let lost = first.lost + first.bad + rest.lost + rest.bad;
        let figures = [
            ("mean of the first 50", first.mean(), "ms"),
            ("p50", rest.quantile(0.5), "ms"),
            ("p99", rest.quantile(0.99), "ms"),
            ("slowest", rest.quantile(1.0).max(first.quantile(1.0)), "ms"),
            ("lost or bad", lost as f64, "queries"),
        ];
        self.report.add(set.name, server.name, round, &figures);
        server.stop();
        drop(by_path);
    }

    /// Asks two upstreams, each by one connection, of which one answer in a hundred takes 20 ms and the
    /// others 2 ms: nothing should take longer than the slowest answer.
    fn stalls(&mut self) {
        const RIG: &str = "10 k/s by two connections";
        for round in 0..self.rounds {
            for transport in TRANSPORTS {
                let kind = transport.hither();
                if !self.is_wanted(kind) {
                    continue;
                }
                let manner = Manner { slow: 1, ..Manner::delayed(2) };
                let upstreams = [manner, manner].map(|manner| self.upstream_by(transport, manner));
                let addresses = upstreams.each_ref().map(|upstream| upstream.1);
                let Some(server) = self.start_one(kind, &addresses, 50_000, "0") else { continue };
                self.warm(&server);
                let names = self.next_names(20_000);
                let (outcome, cpu) = Self::slice(&server, open(names, 10_000.0));
                let figures = [
                    ("p50", outcome.quantile(0.5), "ms"),
                    ("p99", outcome.quantile(0.99), "ms"),
                    ("slowest", outcome.quantile(1.0), "ms"),
                    ("processor time", cpu, "us"),
                    ("lost or bad", (outcome.lost + outcome.bad) as f64, "queries"),
                ];
                self.report.add(RIG, server.name, round, &figures);
            }
        }
        self.report.table(RIG, Transport::Udp.hither().name);
    }
}
