//! Lookups through the C library, by each configuration in turn on one core: libnss_hither, the stub
//! resolver with hitherd, unbound and dnsmasq, nscd, and a module that only copies a record. `cargo
//! bench --bench names` (as root; in namespaces of its own).
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 7;
const UPSTREAM: &str = "127.0.0.9:5300";

/// A configuration of the C library: its name, the sources in nsswitch.conf, the server in resolv.conf.
struct Way {
    name: &'static str,
    hosts: &'static str,
    server: &'static str,
    nscd: bool,
}

const WAYS: [Way; 6] = [
    Way { name: "libnss_hither", hosts: "hither", server: "127.0.0.1", nscd: false },
    Way { name: "minimal module", hosts: "minimal", server: "127.0.0.1", nscd: false },
    Way { name: "stub, hitherd", hosts: "dns", server: "127.0.0.1", nscd: false },
    Way { name: "stub, unbound", hosts: "dns", server: "127.0.0.2", nscd: false },
    Way { name: "stub, dnsmasq", hosts: "dns", server: "127.0.0.3", nscd: false },
    Way { name: "nscd, unbound", hosts: "dns", server: "127.0.0.2", nscd: true },
];

fn run(command: &str) {
    let done = Command::new("sh").args(["-ec", command]).status().expect("sh runs");
    assert!(done.success(), "{command}");
}

fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Answers A queries, `one.example` with one address and other names with sixteen. Other types get NODATA.
fn upstream() {
    let socket = UdpSocket::bind(UPSTREAM).expect("a port");
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer) {
            let mut reply = buffer[..len.min(512)].to_vec();
            let Some(end) = reply[12..].iter().position(|o| *o == 0).map(|at| 12 + at + 5) else { continue };
            let a = reply[end - 3] == 1;
            let count = if !a {
                0
            } else if reply[13].eq_ignore_ascii_case(&b'o') {
                1
            } else {
                16
            };
            reply.truncate(end);
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0]);
            for n in 0..count {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 198, 18, 0, n + 1]);
            }
            let _ = socket.send_to(&reply, peer);
        }
    });
}

struct Servers(Vec<Child>);

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn server(program: &str, args: &[&str]) -> Child {
    Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started")
}

/// Waits until a server answers.
fn await_server(server: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to: SocketAddr = format!("{server}:53").parse().expect("an address");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an option");
    let query = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04many\x07example\x00\x00\x01\x00\x01";
    let began = Instant::now();
    loop {
        let _ = socket.send_to(query, to);
        let mut reply = [0; 600];
        if socket.recv(&mut reply).is_ok_and(|len| len > 100) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{server} never answers");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Starts every installed server and waits until it answers.
fn servers(dir: &Path) -> Servers {
    let d = dir.display();
    run(&format!(
        "ip link set lo up; touch {d}/nsswitch.conf {d}/resolv.conf; mount --bind {d}/nsswitch.conf /etc/nsswitch.conf"
    ));
    run(&format!(
        "mount --bind {d}/resolv.conf \"$(readlink -f /etc/resolv.conf)\"; mkdir -p /run/nscd; mount -t tmpfs none /run/nscd"
    ));
    upstream();
    std::fs::create_dir_all(dir.join("run")).expect("a directory");
    let config = format!(
        "runtime_dir = \"{d}/run\"\n[listen]\ndns = [\"127.0.0.1:53\"]\n[[upstream]]\naddress = \"{UPSTREAM}\"\n[sort]\nenabled = false\n"
    );
    std::fs::write(dir.join("hither.toml"), config).expect("writable");
    let unbound = "server:\n interface: 127.0.0.2\n do-daemonize: no\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         do-not-query-localhost: no\n module-config: iterator\n local-zone: \"example.\" transparent\nremote-control:\n control-enable: no\n\
         forward-zone:\n name: \".\"\n forward-addr: 127.0.0.9@5300\n";
    std::fs::write(dir.join("unbound.conf"), unbound).expect("writable");
    let path = |file: &str| dir.join(file).display().to_string();
    let mut servers =
        Servers(vec![server(env!("CARGO_BIN_EXE_hitherd"), &["--config", &path("hither.toml")])]);
    await_server("127.0.0.1");
    if is_there("unbound") {
        servers.0.push(server("unbound", &["-c", &path("unbound.conf")]));
        await_server("127.0.0.2");
    }
    if is_there("dnsmasq") {
        servers.0.push(server(
            "dnsmasq",
            &[
                "-k",
                "-C",
                "/dev/null",
                "-R",
                "-S",
                "127.0.0.9#5300",
                "-a",
                "127.0.0.3",
                "-z",
                "-h",
                "-x",
                &path("dnsmasq.pid"),
            ],
        ));
        await_server("127.0.0.3");
    }
    servers
}

fn inside(dir: &Path) {
    let _servers = servers(dir);
    let ways: Vec<&Way> = WAYS
        .iter()
        .filter(|way| {
            let needed = way.name.split(", ").last().expect("a name");
            let there = !["unbound", "dnsmasq"].contains(&needed) || is_there(needed);
            let there = there && (!way.nscd || is_there("nscd"));
            if !there {
                println!("{}: not installed", way.name);
            }
            there
        })
        .collect();
    for (call, name, what) in [
        ("gai", "one.example", "getaddrinfo, 1 address"),
        ("gai", "many.example", "getaddrinfo, 16 addresses"),
        ("ghbn", "one.example", "gethostbyname2_r, 1 address"),
        ("ghbn", "many.example", "gethostbyname2_r, 16 addresses"),
    ] {
        let mut results = vec![Vec::new(); ways.len()];
        for _ in 0..ROUNDS {
            for (way, results) in ways.iter().zip(&mut results) {
                let _nscd = configure(dir, way);
                let (ns, count) = ask(dir, &[call, name, "20", "200"]);
                assert_eq!(count, if name.starts_with('o') { 1 } else { 16 }, "{}", way.name);
                results.push(ns);
            }
        }
        show(what, &ways, results);
    }
    let mut results = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (way, results) in ways.iter().zip(&mut results).filter(|(way, _)| !way.nscd) {
            let _nscd = configure(dir, way);
            let began = Instant::now();
            for _ in 0..100 {
                ask(dir, &["gai", "one.example", "0", "0"]);
            }
            results.push(began.elapsed().as_nanos() as f64 / 100.0);
        }
    }
    show("a process that asks once (start, getaddrinfo, end)", &ways, results);
}

fn configure(dir: &Path, way: &Way) -> Servers {
    std::fs::write(dir.join("nsswitch.conf"), format!("hosts: {}\npasswd: files\ngroup: files\n", way.hosts))
        .expect("writable");
    std::fs::write(dir.join("resolv.conf"), format!("nameserver {}\n", way.server)).expect("writable");
    if !way.nscd {
        return Servers(Vec::new());
    }
    std::fs::write(
        dir.join("nscd.conf"),
        "enable-cache hosts yes\nshared hosts yes\npositive-time-to-live hosts 600\n",
    )
    .expect("writable");
    let daemon = server("nscd", &["-d", "-f", &dir.join("nscd.conf").display().to_string()]);
    let began = Instant::now();
    while !Path::new("/run/nscd/socket").exists() {
        assert!(began.elapsed() < Duration::from_secs(10), "nscd never listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    Servers(vec![daemon])
}

fn ask(dir: &Path, args: &[&str]) -> (f64, usize) {
    let output = Command::new(dir.join("ask"))
        .args(args)
        .env("LD_LIBRARY_PATH", dir)
        .env("HITHER_RUNTIME_DIR", dir.join("run"))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = text.split_whitespace();
    let number = |word: Option<&str>| word.and_then(|w| w.parse::<f64>().ok());
    let (ns, count) = (number(words.next()), number(words.next()));
    (ns.unwrap_or_else(|| panic!("{args:?}: {output:?}")), count.unwrap_or(0.0) as usize)
}

fn show(what: &str, ways: &[&Way], results: Vec<Vec<f64>>) {
    println!("{what}");
    let medians: Vec<Option<f64>> = results
        .into_iter()
        .map(|mut all| {
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        })
        .collect();
    let ours = medians[0].expect("measured");
    for (way, median) in ways.iter().zip(medians) {
        if let Some(median) = median {
            println!(
                "  {:<16} {:>9.2} us   {:>6.2} times libnss_hither",
                way.name,
                median / 1e3,
                median / ours
            );
        }
    }
}

fn main() {
    if let Some(dir) = std::env::var_os("HITHER_BENCH_NAMES").map(PathBuf::from) {
        return inside(&dir);
    }
    let dir = Path::new("/dev/shm").join(format!("hither-bench-names-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_BIN_EXE_hitherd")).ancestors().nth(2).expect("target/release/hitherd");
    run(&format!(
        "cd {top}; ${{CARGO:-cargo}} build -q --profile loadable -p hither-nss --target-dir {target}; cp {target}/loadable/libnss_hither.so {dir}/libnss_hither.so.2; \
         gcc -O2 benches/names/ask.c -o {dir}/ask; gcc -O2 -shared -fPIC benches/names/minimal.c -o {dir}/libnss_minimal.so.2",
        top = top.display(),
        target = target.display(),
        dir = dir.display()
    ));
    // One core, with mount and network namespaces of its own.
    let done = Command::new("taskset")
        .args(["-c", "0", "unshare", "--mount", "--net", "--propagation", "private"])
        .arg(std::env::current_exe().expect("known"))
        .env("HITHER_BENCH_NAMES", &dir)
        .status();
    let _ = std::fs::remove_dir_all(&dir);
    assert!(done.is_ok_and(|status| status.success()), "needs root, unshare, taskset, ip and gcc");
}
