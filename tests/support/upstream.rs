//! An upstream on loopback that responds as a script says.

use super::{frame, framed, retried};
use std::collections::HashSet;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// An upstream's script: from a query, and whether it came over TCP, to the messages that it sends,
/// each with its delay in milliseconds.
pub type Script = dyn Fn(&[u8], bool) -> Vec<(u64, Vec<u8>)> + Send + Sync;

/// As a delay: the message is held until [`Upstream::release`].
pub const HELD: u64 = u64::MAX;

/// An upstream on loopback, UDP and TCP.
pub struct Upstream {
    pub address: SocketAddr,
    /// Queries over UDP. A retransmission has the same socket and id and counts once, since on a slow
    /// machine the daemon may retransmit.
    pub queries: Arc<AtomicUsize>,
    /// All received datagrams, including retransmissions.
    pub seen: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<AtomicUsize>,
    released: Arc<Gate>,
}

#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let is_open = self.0.lock().expect("no panic");
        drop(self.1.wait_while(is_open, |is_open| !*is_open).expect("no panic"));
    }
}

impl Upstream {
    pub fn start(script: impl Fn(&[u8], bool) -> Vec<(u64, Vec<u8>)> + Send + Sync + 'static) -> Upstream {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().expect("bound");
        let (queries, seen) = (Arc::default(), Arc::default());
        let upstream = Upstream { address, queries, seen, sent: Arc::default(), released: Arc::default() };
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn({
            let (queries, seen) = (Arc::clone(&upstream.queries), Arc::clone(&upstream.seen));
            let (script, sent) = (Arc::clone(&script), Arc::clone(&upstream.sent));
            let released = Arc::clone(&upstream.released);
            move || {
                let mut buffer = [0; 4096];
                let mut known = HashSet::new();
                while let Ok((len, peer)) = retried(|| udp.recv_from(&mut buffer)) {
                    // A delayed response may be sent to a port that this upstream uses by now.
                    if len < 12 || buffer[2] & 0x80 != 0 {
                        continue;
                    }
                    seen.lock().expect("no panic").push(buffer[..len].to_vec());
                    if known.insert((peer, [buffer[0], buffer[1]])) {
                        queries.fetch_add(1, Ordering::SeqCst);
                    }
                    let (socket, sent) = (udp.try_clone().expect("a descriptor"), Arc::clone(&sent));
                    send_all(script(&buffer[..len], false), &released, move |octets| {
                        let _ = socket.send_to(octets, peer);
                        sent.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        std::thread::spawn({
            let released = Arc::clone(&upstream.released);
            move || {
                for stream in tcp.incoming().map_while(Result::ok) {
                    let (script, released) = (Arc::clone(&script), Arc::clone(&released));
                    std::thread::spawn(move || serve_stream(stream, &*script, &released));
                }
            }
        });
        upstream
    }

    pub fn count(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    /// How many datagrams it has sent.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// Sends all [`HELD`] messages, and from now on sends such messages at once.
    pub fn release(&self) {
        self.released.open();
    }
}

/// Sends messages in the order of their times, even when a busy machine delays them.
fn send_all(mut messages: Vec<(u64, Vec<u8>)>, released: &Arc<Gate>, send: impl Fn(&[u8]) + Send + 'static) {
    messages.sort_by_key(|(after_ms, _)| *after_ms);
    let at_once = messages.iter().take_while(|(after_ms, _)| *after_ms == 0).count();
    let later = messages.split_off(at_once);
    messages.iter().for_each(|(_, octets)| send(octets));
    if later.is_empty() {
        return;
    }
    let released = Arc::clone(released);
    std::thread::spawn(move || {
        let mut passed_ms = 0;
        for (after_ms, octets) in later {
            if after_ms == HELD {
                released.wait();
            } else {
                std::thread::sleep(Duration::from_millis(after_ms - passed_ms));
                passed_ms = after_ms;
            }
            send(&octets);
        }
    });
}

fn serve_stream(mut stream: TcpStream, script: &Script, released: &Arc<Gate>) {
    while let Some(query) = framed(&mut stream) {
        let Ok(stream) = stream.try_clone() else { return };
        send_all(script(&query, true), released, move |octets| drop((&stream).write_all(&frame(octets))));
    }
}
