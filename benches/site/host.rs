//! A host: a real daemon and a real companion, each a process with a runtime directory of its own.

use super::Sharing;
use serde_json::Value;
use std::fs::{File, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a host is to be.
pub struct Plan<'a> {
    pub dir: PathBuf,
    pub name: String,
    pub address: SocketAddr,
    pub upstreams: &'a [SocketAddr],
    pub engine: SocketAddr,
    pub sharing: Sharing,
    /// More lines of section `[site]`.
    pub more: &'a str,
}

/// The processes of a host, which are killed when this is dropped.
pub struct Host {
    pub address: SocketAddr,
    dir: PathBuf,
    daemon: Child,
    companion: Option<Child>,
}

/// One of the programs that were built with this benchmark.
pub fn program(name: &str) -> Option<PathBuf> {
    let dir = std::env::current_exe().ok()?.parent()?.parent()?.to_path_buf();
    Some(dir.join(name)).filter(|path| path.is_file())
}

fn start(program_name: &str, dir: &Path, more: &[&str]) -> Child {
    let log = File::create(dir.join(format!("{program_name}.log"))).expect("a file");
    let mut command = Command::new(program(program_name).expect("built"));
    command.arg("--config").arg(dir.join("hither.toml")).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("started")
}

impl Host {
    /// Starts both processes in the network of the calling thread, and does not wait for them.
    pub fn start(plan: &Plan<'_>) -> Host {
        let dir = plan.dir.join(&plan.name);
        std::fs::create_dir_all(dir.join("run")).expect("a directory");
        let key = dir.join("site.key");
        std::fs::write(&key, "the key of all hosts of this site").expect("written");
        std::fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("ours");
        let mut text = format!(
            "runtime_dir = {:?}\n[listen]\ndns = [\"{}\"]\n[log]\nlevel = \"warn\"\n[cache]\nentries = 16384\n[table]\nentries = 16384\n",
            dir.join("run"),
            plan.address
        );
        plan.upstreams.iter().for_each(|address| text += &format!("[[upstream]]\naddress = \"{address}\"\n"));
        if plan.sharing != Sharing::Off {
            let asks = plan.sharing == Sharing::Ask;
            text += &format!(
                "[site]\nengine = \"valkey://{}\"\nkey = {key:?}\nask = {asks}\n{}",
                plan.engine, plan.more
            );
        }
        std::fs::write(dir.join("hither.toml"), text).expect("written");
        let daemon = start("hitherd", &dir, &[]);
        let name = plan.name.clone();
        let companion =
            (plan.sharing != Sharing::Off).then(|| start("hither-site", &dir, &["--host", &name]));
        Host { address: plan.address, dir, daemon, companion }
    }

    /// Waits until the daemon answers, and the companion has reached the engine.
    pub fn is_ready(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.json("status");
            let is_up = self.companion.is_none() || status["site"]["state"] == "up";
            if status.is_object() && is_up {
                return;
            }
            assert!(Instant::now() < end, "{} is never ready: {}", self.dir.display(), status["site"]);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What hitherctl says; null if it fails.
    pub fn json(&self, verb: &str) -> Value {
        let mut command = Command::new(program("hitherctl").expect("built"));
        let output = command.arg("--runtime-dir").arg(self.dir.join("run")).args(["--json", verb]).output();
        output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or(Value::Null)
    }

    pub fn daemon(&self) -> Process {
        Process(self.daemon.id())
    }

    pub fn companion(&self) -> Option<Process> {
        self.companion.as_ref().map(|child| Process(child.id()))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for child in [Some(&mut self.daemon), self.companion.as_mut()].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A process that is measured.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// The number in such a line of /proc/PID/status, of all threads together if it is counted for each.
    fn line(path: &Path, key: &str) -> u64 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn threads(self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(format!("/proc/{}/task", self.0)).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    }

    /// Resident memory in MiB, and that of it which no file backs.
    pub fn memory(self) -> (f64, f64) {
        let path = PathBuf::from(format!("/proc/{}/status", self.0));
        let mib = |key| Self::line(&path, key) as f64 / 1024.0;
        (mib("VmRSS"), mib("RssAnon"))
    }

    /// Processor time in seconds.
    pub fn time(self) -> f64 {
        let texts = self
            .threads()
            .into_iter()
            .filter_map(|path| std::fs::read_to_string(path.join("schedstat")).ok());
        texts.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
    }

    /// How often a thread of it has gone to sleep by itself, hence was woken.
    pub fn wake_ups(self) -> u64 {
        let paths = self.threads().into_iter().map(|path| path.join("status"));
        paths.map(|path| Self::line(&path, "voluntary_ctxt_switches")).sum()
    }
}
