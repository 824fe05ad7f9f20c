//! An upstream that answers every name with an address, except names that begin with `silent`, and
//! serves a large TXT record over TCP.

use hither_wire::codes::Rtype;
use hither_wire::compose::{Composer, Owner, flags};
use hither_wire::message::Section;
use hither_wire::query::Query;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// Octets of the TXT data, length octets included.
const LARGE: usize = 60 * 1024;

pub fn run(address: SocketAddr) {
    let udp = UdpSocket::bind(address).expect("bound");
    let _ = nix::sys::socket::setsockopt(&udp, nix::sys::socket::sockopt::RcvBuf, &(4 << 20));
    let tcp = TcpListener::bind(address).expect("bound");
    std::thread::spawn(move || {
        for stream in tcp.incoming().flatten() {
            std::thread::spawn(move || converse(stream));
        }
    });
    let (mut query, mut reply) = ([0; 2048], vec![0; 1232]);
    loop {
        if let Ok((len, peer)) = udp.recv_from(&mut query)
            && let Some(len) = answer(&query[..len], &mut reply, false)
        {
            let _ = udp.send_to(&reply[..len], peer);
        }
    }
}

fn converse(mut stream: TcpStream) -> Option<()> {
    let mut reply = vec![0; 65_535];
    loop {
        respond(&mut stream, &mut reply)?;
    }
}

/// Reads one query of a connection and answers it.
pub fn respond(stream: &mut (impl Read + Write), reply: &mut [u8]) -> Option<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query).ok()?;
    let len = answer(&query, reply, true)?;
    let framed = [&u16::try_from(len).ok()?.to_be_bytes()[..], &reply[..len]].concat();
    stream.write_all(&framed).ok()
}

fn answer(query: &[u8], out: &mut [u8], tcp: bool) -> Option<usize> {
    let read = Query::read(query).ok()?;
    if query.get(13..19).is_some_and(|label| label.eq_ignore_ascii_case(b"silent")) {
        return None;
    }
    let limit = out.len();
    let mut composer = Composer::new(out, limit)?;
    let large = read.qtype() == Rtype::TXT;
    let cut = if large && !tcp { flags::TC } else { 0 };
    composer.set_header(read.id(), flags::QR | flags::RD | flags::RA | cut);
    composer.question_octets(read.question());
    match read.qtype() {
        Rtype::A => {
            composer.record(Section::Answer, Owner::At(12), Rtype::A, 3600, &[198, 18, 0, 1]);
        }
        Rtype::TXT if tcp => {
            let string = [&[255][..], &[b'x'; 255]].concat();
            composer.record(Section::Answer, Owner::At(12), Rtype::TXT, 3600, &string.repeat(LARGE / 256));
        }
        _ => {}
    }
    Some(composer.finish())
}
