//! TCP clients that read large replies slowly or never.

use super::*;

/// Octets of text in the large answer.
const LARGE: usize = 60_000;

/// Answers with some 60 KiB of text over TCP, and with TC over UDP.
fn large() -> Upstream {
    Upstream::start(|query, tcp| {
        let reply = match Query::read(query) {
            Ok(read) if read.qtype() == Rtype::TXT && tcp => compose(query, Rcode::NOERROR, 0, |out| {
                let text = [&[255][..], &[b'x'; 255]].concat();
                for n in 0..LARGE / 250 {
                    let text = [&text[..], &[5], format!("{n:05}").as_bytes()].concat();
                    out.record(Section::Answer, Owner::At(12), Rtype::TXT, 300, &text);
                }
            }),
            Ok(read) if read.qtype() == Rtype::TXT => compose(query, Rcode::NOERROR, flags::TC, |_| {}),
            _ => answer(query, &[1], 300),
        };
        vec![(0, reply)]
    })
}

fn resident(daemon: &Daemon) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).expect("it runs");
    // The table's pages are shared with every reader and do not count.
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Octets of kernel memory for the daemon's connections; `None` without ss(8).
fn in_kernel(server: SocketAddr) -> Option<usize> {
    let mut command = Command::new("ss");
    let ss = command
        .args(["-tmnH", "state", "all", "sport", "=", &format!(":{}", server.port())])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&ss.stdout).into_owned();
    let memory = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    // Received and not read; sent and not acknowledged, or not sent; reserved in addition.
    let of = |fields: &str| {
        let field = |letter: &str| {
            let number = |f: &str| f.strip_prefix(letter).and_then(|n| n.parse::<usize>().ok());
            fields.split(',').find_map(number).unwrap_or(0)
        };
        field("r") + field("w") + field("f")
    };
    Some(memory.map(of).sum())
}

#[test]
fn a_thousand_clients_that_do_not_read_hold_little_memory_and_not_for_long() {
    let upstream = large();
    let daemon = Daemon::start(&[&upstream], "");
    let query = frame(&ask_for("large.example", Rtype::TXT, None, 9));
    let mut stream = daemon.tcp();
    stream.write_all(&query).expect("written");
    assert!(framed(&mut stream).expect("a reply").len() > LARGE);
    assert_eq!(ends(&daemon.ask("www.example")), [1]);
    let before = resident(&daemon);
    let clients: Vec<TcpStream> = (0..999)
        .map(|_| {
            let stream = TcpStream::connect(daemon.server).expect("connected");
            let _ = nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::RcvBuf, &4096);
            stream.set_nonblocking(true).expect("an option");
            for _ in 0..64 {
                let _ = (&stream).write(&query);
            }
            stream
        })
        .collect();
    if in_kernel(daemon.server).is_none() {
        skip("the kernel's part of a_thousand_clients_that_do_not_read_hold_little_memory", "needs ss(8)");
    }
    // Measured as long as it grows.
    let (mut most, mut most_in_kernel) = (0, 0);
    loop {
        assert_eq!(ends(&daemon.ask("www.example")), [1], "a hit");
        std::thread::sleep(Duration::from_millis(100));
        let own = resident(&daemon).saturating_sub(before);
        let kernel = in_kernel(daemon.server).unwrap_or(0);
        if own + kernel <= most + most_in_kernel {
            break;
        }
        (most, most_in_kernel) = (own, kernel);
    }
    #[allow(clippy::print_stdout)]
    {
        println!("{} KiB of its own, {} KiB in the kernel", most / 1024, most_in_kernel / 1024);
    }
    assert!(most + most_in_kernel < 128 << 20, "{most} octets of its own, {most_in_kernel} in the kernel");
    let end = Instant::now() + 4 * PATIENCE;
    while daemon.json(&["stats"])["tcp_clients"].as_u64() > Some(1) {
        assert!(Instant::now() < end, "clients that do not read are not closed: {}", daemon.json(&["stats"]));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        in_kernel(daemon.server).is_none_or(|left| left < 1 << 20),
        "the kernel still holds memory of closed connections"
    );
    drop(clients);
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_its_large_replies() {
    let upstream = large();
    let daemon = Daemon::start(&[&upstream], "");
    let mut stream = daemon.tcp();
    for id in 0..40_u16 {
        stream.write_all(&frame(&ask_for("large.example", Rtype::TXT, None, id))).expect("written");
    }
    for id in 0..40_u16 {
        std::thread::sleep(Duration::from_millis(20));
        let reply = framed(&mut stream).expect("a reply");
        assert!(reply.len() > LARGE && reply[..2] == id.to_be_bytes(), "reply {id}");
    }
}
