//! Networks of the hosts: a bridge in the caller's own network, and hosts behind it that can be cut off.
//! Also included by path from the benchmark of the site.
#![allow(dead_code)] // Each program uses its own part.

use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::process::Command;
use std::sync::Arc;

fn sh(line: &str) -> bool {
    Command::new("sh").args(["-c", line]).status().is_ok_and(|status| status.success())
}

/// The network of one host, which lasts as long as this. Its interface is `eth0`, its address
/// 10.19.0.`number`; the end at the bridge is `vNUMBER`.
#[derive(Clone)]
pub struct Network {
    namespace: Arc<File>,
    pub number: u8,
}

/// Makes the bridge, with these addresses for the upstreams.
pub fn bridge(addresses: &[&str]) {
    let all = addresses.iter().map(|address| format!("ip addr add {address}/24 dev br0"));
    let all = all.collect::<Vec<_>>().join(" && ");
    assert!(sh(&format!("ip link add br0 type bridge && ip link set br0 up && {all}")), "a bridge");
}

impl Network {
    pub fn new(number: u8) -> Network {
        // The bridge is in the network of this thread, which waits.
        let bridge = nix::unistd::gettid();
        let made = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            let line = format!(
                "ip link set lo up && ip link add eth0 type veth peer name v{number} netns {bridge} && ip addr add 10.19.0.{number}/24 dev eth0 && ip link set eth0 up"
            );
            assert!(sh(&line), "a pair of interfaces");
            File::open("/proc/thread-self/ns/net").expect("there")
        });
        let namespace = Arc::new(made.join().expect("no panic"));
        assert!(sh(&format!("ip link set v{number} master br0 && ip link set v{number} up")), "a port");
        Network { namespace, number }
    }

    /// Runs `act` in this network, in a thread of its own.
    pub fn there<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = Arc::clone(&self.namespace);
        let thread = std::thread::spawn(move || {
            setns(&*namespace, CloneFlags::CLONE_NEWNET).expect("root may");
            act()
        });
        thread.join().expect("no panic")
    }

    /// Cuts the cable, or mends it.
    pub fn connect(&self, is_up: bool) {
        let what = if is_up { "up" } else { "down" };
        assert!(sh(&format!("ip link set v{} {what}", self.number)), "the port goes {what}");
    }

    /// Whether packets to this other host are dropped here.
    pub fn split_from(&self, other: u8, is_split: bool) {
        let what = if is_split { "add" } else { "del" };
        let line = format!("ip route {what} blackhole 10.19.0.{other}/32");
        assert!(self.there(move || sh(&line)), "a route");
    }
}
