//! Many hosts on one machine, each asked by Zipf: what reaches the upstreams, and what it costs.

use super::engine::Engine;
use super::host::{Host, Plan, Process};
use super::load::{Counts, Load};
use super::question::{Draws, Zipf};
use super::summary::{Times, median, of_all};
use super::upstream::{Manner, Upstream};
use super::{Options, Sharing, directory};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const TTL_S: f64 = 60.0;
const DELAY: Duration = Duration::from_millis(20);

/// What the upstreams were asked.
struct Asked {
    whole: u64,
    /// In the second half of the time, when every host has asked for most names before.
    later: u64,
}

pub fn run(options: &Options) {
    let Options { hosts, names, rate, factor, minutes, .. } = options;
    println!(
        "-- traffic: {hosts} hosts, {names} names by Zipf(1.0), {rate} queries a second and host, TTL {TTL_S} s, two upstreams {} ms away; {minutes} minutes, {factor} times as fast",
        DELAY.as_millis()
    );
    let [alone, shared] = ideal(options);
    println!(
        "if answers were shared at once and for nothing, {:.0} and not {:.0} names a second would be asked of the upstreams: {:.1} times fewer",
        shared,
        alone,
        alone / shared
    );
    let mut first: Option<Asked> = None;
    for sharing in &options.sharing {
        let asked = one(options, *sharing);
        if let Some(first) = &first {
            println!(
                "   {:.1} times fewer queries to the upstreams than before (wanted: 20); in the second half {:.1} times fewer",
                first.whole as f64 / asked.whole as f64,
                first.later as f64 / asked.later as f64
            );
        }
        first = first.or(Some(asked));
    }
}

/// Names a second, of all hosts, that must be asked of an upstream: if each host is alone, and if all
/// have one cache. A name that is asked for r times a second is missed once in TTL + 1/r seconds.
fn ideal(options: &Options) -> [f64; 2] {
    let zipf = Zipf::new(options.names);
    let misses =
        |rate: f64| (0..options.names).map(|n| 1.0 / (TTL_S + 1.0 / (rate * zipf.share(n)))).sum::<f64>();
    let hosts = options.hosts as f64;
    [hosts * misses(options.rate), misses(options.rate * hosts)]
}

/// What runs for one measurement.
struct Scene {
    dir: PathBuf,
    engine: Engine,
    upstreams: Vec<Upstream>,
    hosts: Vec<Host>,
    manner: Manner,
}

impl Scene {
    fn start(options: &Options, sharing: Sharing) -> Scene {
        let dir = directory("traffic");
        let engine = Engine::start_here(&dir, &[]);
        let ttl_s = (TTL_S / options.factor).round() as u32;
        let manner = Manner { delay: DELAY.div_f64(options.factor), ttl_s };
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let upstreams: Vec<Upstream> = (0..2).map(|_| Upstream::start(free, manner)).collect();
        let addresses: Vec<SocketAddr> = upstreams.iter().map(|upstream| upstream.address).collect();
        let count = if sharing == Sharing::Off { options.alone } else { options.hosts };
        let host = |n: usize| {
            let plan = Plan {
                dir: dir.clone(),
                name: format!("host{n}"),
                address: SocketAddr::from(([127, 19, (n / 250) as u8, (n % 250 + 1) as u8], 5300)),
                upstreams: &addresses,
                engine: engine.address,
                sharing,
                // A TTL may be shorter than what is shared otherwise, since it is divided by the factor.
                more: &format!("ttl_floor = \"1s\"\nwait = \"{}ms\"\n", options.wait_ms),
            };
            Host::start(&plan)
        };
        let hosts: Vec<Host> = (0..count).map(host).collect();
        hosts.iter().for_each(Host::is_ready);
        Scene { dir, engine, upstreams, hosts, manner }
    }

    fn queries(&self) -> u64 {
        self.upstreams.iter().map(Upstream::queries).sum()
    }

    /// One host asks for every name, so that the site knows something: if all hosts of a site began at once
    /// and cold, their processes on one machine would only be busy with telling each other.
    fn warm_up(&self, options: &Options) {
        let (rate, names) = (250.0, options.names as u64);
        let (time, mut name) = (Duration::from_secs_f64(names as f64 / rate), 0);
        let mut load = Load::new(None);
        load.run((time, rate), &[self.hosts[0].address], &mut Draws::new(1), |_| {
            name = (name + 1) % names;
            (0, name)
        });
        load.finish();
    }

    /// Plays the traffic; returns it, and the queries to the upstreams after each twentieth of it.
    fn play(&self, options: &Options) -> (Load, Vec<u64>) {
        let lifetime = Duration::from_secs(u64::from(self.manner.ttl_s));
        let (zipf, mut draws) = (Zipf::new(options.names), Draws::new(7));
        let mut load = Load::new(Some(lifetime));
        let places: Vec<SocketAddr> = self.hosts.iter().map(|host| host.address).collect();
        let part = Duration::from_secs_f64(options.minutes * 3.0 / options.factor);
        let rate = options.rate * options.factor * places.len() as f64;
        let (mut series, before) = (Vec::new(), self.queries());
        for _ in 0..20 {
            load.run((part, rate), &places, &mut draws, |draws| {
                ((draws.draw() * places.len() as f64) as usize, zipf.draw(draws))
            });
            series.push(self.queries() - before);
        }
        load.finish();
        (load, series)
    }
}

fn one(options: &Options, sharing: Sharing) -> Asked {
    let scene = Scene::start(options, sharing);
    let Scene { dir, engine, hosts, manner, .. } = &scene;
    if sharing != Sharing::Off {
        scene.warm_up(options);
    }
    let mut client = engine.client().expect("connected");
    let before = [of_processes(hosts, Host::daemon), of_processes(hosts, Host::companion)];
    client.call(&["CONFIG", "RESETSTAT"]).expect("reset");
    let began = Instant::now();
    let (load, series) = scene.play(options);
    let took = began.elapsed();
    let Counts { drawn, sent, lost, late } = load.counts;
    println!(
        "{}: {} hosts, {drawn} queries, of which {sent} were sent, since the others are hits that change nothing; {lost} lost or failed, {late} left out, since the machine was too slow; {:.0} s",
        sharing.name(),
        hosts.len(),
        took.as_secs_f64()
    );
    let times = options.hosts as u64 / hosts.len() as u64;
    let later = series[19] - series[9];
    let each = series.windows(2).map(|two| (two[1] - two[0]).to_string());
    println!(
        "   queries to the upstreams: {} of {} hosts, {later} in the second half; by twentieths: {} {}",
        series[19],
        hosts.len(),
        series[0],
        each.collect::<Vec<_>>().join(" ")
    );
    say_times(&load.times, manner.delay);
    let after = [of_processes(hosts, Host::daemon), of_processes(hosts, Host::companion)];
    for (what, (before, after)) in ["daemon", "companion"].iter().zip(before.iter().zip(&after)) {
        say_processes(what, before, after, took);
    }
    let counts = of_all(hosts);
    let shown: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("   all hosts: {}", shown.join(", "));
    if sharing != Sharing::Off {
        let written = counts.get("companion.written").copied();
        say_engine(&mut client, written.unwrap_or(0), Process(engine.id()));
    }
    let _ = std::fs::remove_dir_all(dir);
    Asked { whole: series[19] * times, later: later * times }
}

fn say_times(times: &Times, delay: Duration) {
    let us = u32::try_from(delay.as_micros()).unwrap_or(u32::MAX);
    println!("   faster than an upstream: {}", times.until(us).shown());
    println!("   slower: {}", times.from(us).shown());
}

/// A process's memory, that of it which no file backs, and its processor time so far.
type Figures = ((f64, f64), f64);

fn of_processes<P: Into<Option<Process>>>(hosts: &[Host], which: impl Fn(&Host) -> P) -> Vec<Figures> {
    let processes = hosts.iter().filter_map(|host| which(host).into());
    processes.map(|process: Process| (process.memory(), process.time())).collect()
}

fn say_processes(what: &str, before: &[Figures], after: &[Figures], took: Duration) {
    if after.is_empty() {
        return;
    }
    let column = |which: fn(&Figures) -> f64| after.iter().map(which).collect::<Vec<_>>();
    let most = |numbers: Vec<f64>| numbers.into_iter().fold(0.0, f64::max);
    let (whole, own) = (column(|figures| figures.0.0), column(|figures| figures.0.1));
    let time = |all: &[Figures]| all.iter().map(|figures| figures.1).sum::<f64>();
    let share = (time(after) - time(before)) / after.len() as f64 / took.as_secs_f64() * 100.0;
    println!(
        "   {what}: {:.1} MiB resident, the largest {:.1}, of these {:.1} without a file; {share:.2} % of a processor",
        median(whole.clone()),
        most(whole),
        median(own)
    );
}

fn say_engine(client: &mut super::engine::Client, written: u64, process: Process) {
    let mut commands = client.commands();
    commands.retain(|name, _| !name.starts_with("info") && !name.starts_with("config"));
    let all: u64 = commands.values().sum();
    let writes: u64 = ["set", "publish"].iter().filter_map(|name| commands.get(*name)).sum();
    println!(
        "   engine: {written} sets written, {:.2} operations for each to write it (wanted: at most 3), {:.2} with all reads: {commands:?}",
        writes as f64 / written as f64,
        all as f64 / written as f64
    );
    let memory = client.info("memory");
    let used = |key: &str| memory.get(key).cloned().unwrap_or_default();
    let keys = client.call(&["DBSIZE"]).expect("answered");
    println!(
        "   engine: {} used, {} at most, {keys:?} keys, {:.1} s of processor time",
        used("used_memory_human"),
        used("used_memory_peak_human"),
        process.time()
    );
}
