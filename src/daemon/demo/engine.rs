//! The engine of the demo: a Valkey or Redis server at a socket in the demo's directory.

use super::processes::wait_for_line;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The programs, the better one first.
const PROGRAMS: [&str; 2] = ["valkey-server", "redis-server"];

/// An engine that runs. It keeps nothing, so it is killed when this is dropped.
pub(super) struct Engine {
    child: Child,
    pub program: &'static str,
    pub socket: PathBuf,
}

impl Engine {
    /// Starts an engine whose socket is in `dir`.
    pub fn start(dir: &Path) -> Result<Engine, String> {
        let Some((program, path)) = installed() else {
            return Err(format!(
                "neither {} nor {} is installed; on Debian: apt install valkey-server (or redis-server)",
                PROGRAMS[0], PROGRAMS[1]
            ));
        };
        let socket = dir.join("engine.sock");
        let mut command = Command::new(path);
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocketperm", "700"]);
        command.arg("--unixsocket").arg(&socket).arg("--dir").arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let mut engine = Engine { child, program, socket };
        let Some(log) = engine.child.stdout.take() else { return Err("the engine has no log".to_owned()) };
        wait_for_line(log, "eady to accept connections", program)?;
        Ok(engine)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first program that `PATH` leads to.
fn installed() -> Option<(&'static str, PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().find_map(|program| {
        dirs.iter().map(|dir| dir.join(program)).find(|path| path.is_file()).map(|path| (*program, path))
    })
}
