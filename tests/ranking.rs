//! The real sorter before a network of known round-trip times: orders are right, come before the slowest
//! address is known, and measured times are those of the path.
//!
//! Needs root for a network namespace and a TUN device, and prints SKIPPED without. The times of orders:
//! `unshare -n python3 tests/ranking/known_delays.py target/debug SCENARIO`.
#![allow(clippy::print_stdout)]

#[path = "support/skip.rs"]
mod skip;

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs a scenario of `ranking/known_delays.py`; `None` where that is not possible.
fn run(test: &str, scenario: &str) -> Option<Value> {
    let mut may = Command::new("unshare");
    may.args(["-n", "ip", "tuntap", "add", "mode", "tun", "name", "probe0"]);
    if !may.output().is_ok_and(|done| done.status.success()) {
        skip::skip(test, "needs root, unshare(1), ip(8) and TUN devices");
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ranking/known_delays.py");
    let programs = Path::new(env!("CARGO_BIN_EXE_hitherd")).parent().expect("a directory");
    let mut command = Command::new("unshare");
    command.arg("-n").arg("python3").arg(script).arg(programs).arg(scenario);
    let done = command.output().expect("python3");
    let text = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    Some(serde_json::from_str(&text).unwrap_or_else(|_| panic!("{scenario}: {text} {errors}")))
}

/// The orders that were published, each as the last octets of its addresses.
fn orders(seen: &Value) -> Vec<Vec<u8>> {
    let end = |address: &Value| address.as_str()?.rsplit('.').next()?.parse().ok();
    let ends = |order: &Value| order["order"].as_array().into_iter().flatten().filter_map(end).collect();
    seen["orders"].as_array().expect("orders").iter().filter(|one| one["sorted"] == true).map(ends).collect()
}

#[test]
fn ten_addresses_are_ordered_by_their_round_trip_times() {
    let test = "ten_addresses_are_ordered_by_their_round_trip_times";
    for scenario in ["spread", "icmp-blocked"] {
        let Some(seen) = run(test, scenario) else { return };
        assert_eq!(seen["is_right"], true, "{scenario}: {seen}");
        let probes = seen["probes"].as_u64().expect("a number");
        assert!(probes <= 44, "{scenario}: {probes}, two for each address and sample at most");
    }
}

#[test]
fn an_order_does_not_wait_for_a_silent_address() {
    let Some(seen) = run("an_order_does_not_wait_for_a_silent_address", "one-silent") else { return };
    let (orders, times) = (orders(&seen), seen["orders"].as_array().expect("orders"));
    let first = times.iter().find(|one| one["sorted"] == true).and_then(|one| one["ms"].as_i64());
    assert!(first.is_some_and(|ms| ms < 1000), "before the time limit of one probe: {seen}");
    assert_eq!(orders.last(), Some(&vec![1, 3, 2, 4]), "{seen}");
}

/// The sorter is stopped for 400 ms while the replies arrive.
#[test]
fn round_trip_times_are_those_of_the_path_and_not_of_a_slow_sorter() {
    let test = "round_trip_times_are_those_of_the_path_and_not_of_a_slow_sorter";
    let Some(seen) = run(test, "stopped") else { return };
    assert_eq!(seen["is_right"], true, "{seen}");
    let bias = seen["bias_ms"].as_object().expect("an object");
    assert!(bias.len() == 4 && bias.values().all(|ms| ms.as_f64().is_some_and(|ms| ms < 200.0)), "{seen}");
}
