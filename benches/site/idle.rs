//! The wake-ups and the memory of a companion while nothing happens.

use super::engine::Engine;
use super::host::{Host, Plan};
use super::upstream::{Manner, Upstream};
use super::{Options, Sharing, directory};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(60);

pub fn run(_: &Options) {
    println!("-- idle: a companion whose engine is up, for {} s", TIME.as_secs());
    let dir = directory("idle");
    let engine = Engine::start_here(&dir, &[]);
    let manner = Manner { delay: Duration::ZERO, ttl_s: 3600 };
    let upstream = Upstream::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), manner);
    let plan = Plan {
        name: "host".to_owned(),
        address: SocketAddr::from(([127, 19, 0, 1], 5300)),
        upstreams: &[upstream.address],
        engine: engine.address,
        sharing: Sharing::Ask,
        more: "",
        dir,
    };
    let host = Host::start(&plan);
    host.is_ready();
    // What the start and our questions have begun is over by then.
    std::thread::sleep(Duration::from_secs(5));
    let companion = host.companion().expect("started");
    let before = (companion.wake_ups(), host.daemon().wake_ups(), companion.time());
    std::thread::sleep(TIME);
    let after = (companion.wake_ups(), host.daemon().wake_ups(), companion.time());
    let (all, own) = companion.memory();
    println!(
        "   {} wake-ups of the companion (wanted: 0 but the engine's keep-alive), {} of the daemon; {:.1} ms of processor time; {all:.1} MiB resident (wanted: at most 16), {own:.1} without a file",
        after.0 - before.0,
        after.1 - before.1,
        (after.2 - before.2) * 1e3
    );
}
