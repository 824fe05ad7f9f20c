//! The processes of the demo, and a client.

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::RecordType;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long the demo waits for a process, or for a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process that is asked to end when this is dropped, and waited for.
pub(super) struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Ok(id) = i32::try_from(self.0.id()) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// A loopback address with a port that is free for UDP and TCP.
pub(super) fn free_address() -> std::io::Result<SocketAddr> {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        if TcpListener::bind(udp.local_addr()?).is_ok() {
            return udp.local_addr();
        }
    }
    Err(std::io::ErrorKind::AddrInUse.into())
}

/// Starts a process whose lines of output arrive at the receiver.
pub(super) fn spawn_and_read(command: &mut Command) -> std::io::Result<(Child, mpsc::Receiver<String>)> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    Ok((child, receiver))
}

/// Starts a daemon and waits until its log reports that it is ready.
pub(super) fn start_daemon(command: &mut Command) -> Result<Process, String> {
    let spawned = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut daemon = Process(spawned.map_err(|error| format!("the daemon cannot be started: {error}"))?);
    let Some(log) = daemon.0.stderr.take() else { return Err("the daemon has no log".to_owned()) };
    wait_for_line(log, "ready at", "the daemon")?;
    Ok(daemon)
}

/// Waits for a line that contains `wanted`; without it the error has all lines. Later lines are read
/// and dropped.
pub(super) fn wait_for_line(
    from: impl Read + Send + 'static,
    wanted: &'static str,
    who: &str,
) -> Result<(), String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut waiting = Some(sender);
        let mut lines = String::new();
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if line.contains(wanted)
                && let Some(sender) = waiting.take()
                && sender.send(Ok(())).is_err()
            {
                // The receiver is gone: the demo has failed and ends the process.
                return Ok(());
            }
            if waiting.is_some() {
                lines += &line;
                lines += "\n";
            }
        }
        waiting.map_or(Ok(()), |sender| sender.send(Err(lines)))
    });
    receiver.recv_timeout(PATIENCE).map_err(|_| format!("{who} does not start"))?
}

/// Sends one query, as a client does, and returns the addresses of the reply.
pub(super) fn ask(server: SocketAddr, name: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.parse()?, RecordType::A));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&query.to_vec()?)?;
    let mut buffer = [0; 1232];
    let len = socket.recv(&mut buffer)?;
    let reply = Message::from_vec(&buffer[..len])?;
    let addresses: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    Ok(addresses.join(", "))
}
