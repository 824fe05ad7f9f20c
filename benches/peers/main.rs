//! Compares hither with every other installed cache. All do the same work in turns: `cargo bench
//! --bench peers -- [RIGS] [OPTIONS]`
//!
//! Rigs: `hits workers misses race memory start`, and with encrypted upstreams `encrypted` (processor
//! time and latency of a miss), `unsteady` (upstreams with faults), `trips` (round trips of the first
//! name), `idle` (memory, wake-ups); without one, all of them. Options: `--rounds N` (7), `--only
//! NAME,NAME`. Figures go to `target/bench-peers.tsv`, one a line: rig, server, metric, value, unit,
//! round. Tables with medians, and with ratios to a reference of the same round, go to standard output.
//!
//! With two cores or more, servers run on core 0, load and upstreams on core 1. As root, all run in
//! the class SCHED_RR, in slices so short that the kernel does not throttle them, with pauses between.
//!
//! `unsteady` and `trips` have a network namespace of their own, which needs root, Python and
//! /dev/net/tun.
//!
//! `--role load ADDRESS NAMES WINDOW MS` runs the load alone, for instance to profile a server of your
//! own; with 0 as NAMES each name is asked for once.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

mod backlog;
mod encrypted;
mod load;
mod memory;
mod report;
mod rigs;
mod roles;
mod servers;

use report::Report;
use rigs::Bench;
use std::net::SocketAddr;

const RIGS: [&str; 10] =
    ["hits", "workers", "misses", "race", "memory", "start", "encrypted", "unsteady", "trips", "idle"];

fn play(args: &[String]) -> Option<()> {
    let at = args.iter().position(|arg| arg == "--role")?;
    let address: SocketAddr = args.get(at + 2)?.parse().ok()?;
    let number = |n: usize| args.get(at + n).and_then(|arg| arg.parse::<u64>().ok()).unwrap_or(0);
    match args.get(at + 1)?.as_str() {
        "flip" => roles::flip(address, true),
        "flip-singly" => roles::flip(address, false),
        "load" => load::alone(address, number(3), number(4), number(5)),
        role => {
            let manner = roles::Manner::read(args.get(at + 3..)?);
            let dir = std::path::PathBuf::from(args.get(at + 8)?);
            match role {
                "upstream" => roles::upstream(address, manner),
                _ => encrypted::serve(role, address, manner, &dir),
            }
        }
    }
    Some(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if play(&args).is_some() {
        return;
    }
    let value = |key: &str| args.iter().position(|arg| arg == key).and_then(|at| args.get(at + 1));
    let rounds = value("--rounds").and_then(|n| n.parse().ok()).unwrap_or(7);
    let only = value("--only").map(|list| list.split(',').map(str::to_owned).collect());
    let taken = [value("--rounds"), value("--only")];
    let rigs: Vec<&str> = args
        .iter()
        .filter(|arg| !arg.starts_with("--") && !taken.contains(&Some(*arg)))
        .map(String::as_str)
        .collect();
    let target = servers::find("hitherd").and_then(|path| Some(path.parent()?.parent()?.to_path_buf()));
    let Some(target) = target else {
        return println!(
            "SKIPPED: there is no hitherd beside this benchmark; run cargo build --release first"
        );
    };
    let unknown = args.iter().find(|arg| {
        let option = ["--rounds", "--only"].contains(&arg.as_str()) || taken.contains(&Some(*arg));
        !option && !RIGS.contains(&arg.as_str())
    });
    if let Some(unknown) = unknown {
        return println!(
            "'{unknown}' is no rig and no option; rigs: {}; options: --rounds N, --only NAME,NAME",
            RIGS.join(" ")
        );
    }
    let mut bench = Bench::new(rounds, only, Report::new(&target.join("bench-peers.tsv")));
    for name in RIGS {
        if rigs.is_empty() || rigs.contains(&name) {
            match name {
                "hits" => bench.hits(),
                "workers" => bench.workers(),
                "misses" => bench.misses(),
                "race" => bench.race(),
                "memory" => bench.memory(),
                "encrypted" => bench.encrypted(),
                "unsteady" => bench.unsteady(),
                "trips" => bench.trips(),
                "idle" => bench.idle(),
                _ => bench.start(),
            }
        }
    }
}
