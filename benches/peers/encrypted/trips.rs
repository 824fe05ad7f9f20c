//! Round trips that the first name costs, by a path with a delay: with a cold connection, with a ticket
//! from an earlier one, and when nobody is at the first address of the upstream.

use super::await_upstream;
use super::kinds::{TRANSPORTS, WITH_A_DEAD_ADDRESS};
use crate::load::{self, Load, Until};
use crate::rigs::{Bench, closed};
use crate::roles::Manner;
use crate::servers::{self, Kind, Server, Task};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The delay of the path in each direction.
const DELAY_MS: u64 = 20;
pub const NEAR: [u8; 4] = [10, 9, 0, 1];
/// Leads to [`NEAR`] by the path.
pub const FAR: [u8; 4] = [10, 9, 0, 2];
/// Nobody is here.
pub const NOWHERE: [u8; 4] = [10, 9, 0, 9];
const PORT: u16 = 853;
/// Longer than hither and its upstreams keep a connection without queries.
const UNUSED: Duration = Duration::from_secs(32);

/// A network namespace of the calling thread and its later children, with a path to [`FAR`]. The thread
/// should end afterwards.
pub struct Path(Child);

impl Path {
    /// A delay in milliseconds and the percentage of packets that are lost, in each direction.
    pub fn make(delay_ms: u64, loss: u64) -> Result<Path, String> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/peers/encrypted/long_path.py");
        let mut command = Command::new("python3");
        command.arg(script).args([delay_ms, loss].map(|n| n.to_string())).stdout(Stdio::piped());
        let mut relay = command.spawn().map_err(|error| format!("python3: {error}"))?;
        let mut line = String::new();
        let read = relay.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let path = Path(relay);
        if read.is_some_and(|read| read.is_ok()) && line == "ready\n" {
            return Ok(path);
        }
        Err("there is no TUN device".to_owned())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    pub fn trips(&mut self) {
        let ended = std::thread::scope(|scope| scope.spawn(|| self.trips_in_own_network()).join());
        if let Ok(Err(why)) = ended {
            return println!("MISSING round trips: {why}");
        }
        self.report.table("round trips", "");
    }

    fn trips_in_own_network(&mut self) -> Result<(), String> {
        let _path = Path::make(DELAY_MS, 0)?;
        self.prepare();
        for round in 0..self.rounds.min(3) {
            let mut live = Vec::new();
            for (n, transport) in (0..).zip(TRANSPORTS) {
                let near = SocketAddr::from((NEAR, PORT + n));
                let upstream = self.upstream_at(transport.role(), near, Manner::delayed(0));
                await_upstream(transport, near);
                let far = [SocketAddr::from((FAR, PORT + n))];
                let server = self.start_cold(transport.hither(), &far)?;
                let first = self.trips_of_one(&server);
                self.report.add("round trips", server.name, round, &[("cold", first, "trips")]);
                live.push((server, upstream));
            }
            std::thread::sleep(UNUSED);
            for (server, _) in &live {
                let later = self.trips_of_one(server);
                let figures =
                    [("later", later, "trips"), ("by a ticket", self.resumptions(server), "handshakes")];
                self.report.add("round trips", server.name, round, &figures);
            }
            for (transport, kind) in &WITH_A_DEAD_ADDRESS {
                let port = PORT + *transport as u16;
                let both = [NOWHERE, FAR].map(|address| SocketAddr::from((address, port)));
                let server = self.start_cold(kind, &both)?;
                let more = self.trips_of_one(&server);
                let ms = more * 2.0 * DELAY_MS as f64;
                let figures = [("first name with a dead address", ms, "ms")];
                self.report.add("round trips", server.name, round, &figures);
            }
        }
        Ok(())
    }

    /// Starts a server that nobody asks until it is ready.
    fn start_cold(&mut self, kind: &Kind, upstreams: &[SocketAddr]) -> Result<Server, String> {
        let address = self.address();
        let dir = self.dir.join(address.port().to_string());
        std::fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
        let task = Task { dir: &dir, address, upstreams, names: 1000 };
        Server::start_notifying(kind, &task, ("0", self.priority)).map(|(server, _)| server)
    }

    /// How many handshakes of a server resumed an earlier session, by its own account.
    fn resumptions(&self, server: &Server) -> f64 {
        let Some(program) = servers::find("hitherctl") else { return f64::NAN };
        let mut command = Command::new(program);
        command.arg("--runtime-dir").arg(self.dir_of(server)).args(["status", "--json"]);
        let output = command.output().map(|output| output.stdout).unwrap_or_default();
        let status: serde_json::Value = serde_json::from_slice(&output).unwrap_or_default();
        status["upstreams"][0]["tls"]["resumptions"].as_f64().unwrap_or(f64::NAN)
    }

    /// The time of one query in round trips of the path.
    fn trips_of_one(&mut self, server: &Server) -> f64 {
        let names = self.next_names(1);
        let one = Load { until: Until::Count(1), timeout: Duration::from_secs(6), ..closed(names, 1) };
        let outcome = load::run(server.address, one);
        outcome.quantile(0.5) / (2 * DELAY_MS) as f64
    }
}
