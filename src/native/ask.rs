//! Asking the daemon itself, over its DNS socket. What it answers is read from the table afterwards: it publishes before it replies.

use crate::sys;
use core::net::SocketAddr;
use core::time::Duration;
use hither_table::{Family, Monotonic, Wanted};
use hither_wire::name::Name;

/// How long the daemon is given for a name. It gives its own upstreams longer, but then who waits has other sources to ask.
pub const PATIENCE: Duration = Duration::from_millis(1500);
/// How long all names together that one call of a program looks for.
pub const CALL: Duration = Duration::from_millis(2500);
/// How long nobody asks a daemon that hangs.
pub const SILENCE: Duration = Duration::from_secs(10);
const HEADER_LEN: usize = 12;

/// What came of asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// The daemon has answered each family, with data or a denial.
    Answered,
    /// It cannot find it out, or is not there.
    Refused,
    /// Nothing has come.
    Silent,
}

/// Asks for the wanted families, and waits until then at most.
#[cold]
pub fn ask(
    daemon: &SocketAddr,
    name: &Name,
    wanted: Wanted,
    (began, until): (Monotonic, Monotonic),
) -> Asked {
    let Some(socket) = sys::connect(daemon) else { return Asked::Refused };
    // Who could guess it would have to send from the daemon's own address, and could make us do no more than read the table.
    let id = (began.0 ^ began.0 >> 16 ^ u64::from(sys::process())) as u16 & !1;
    let mut open = 0;
    for (family, id) in [(Family::A, id), (Family::Aaaa, id | 1)] {
        if wanted.includes(family) {
            let mut query = [0; HEADER_LEN + 255 + 4];
            let Some(len) = question(&mut query, id, name, family) else { return Asked::Refused };
            if query.get(..len).and_then(|query| sys::send(&socket, query)).is_none() {
                return Asked::Refused;
            }
            open |= 1 << (id & 1);
        }
    }
    // The header is enough; the rest of a longer datagram is dropped by the kernel.
    let mut reply = [0; HEADER_LEN];
    while open != 0 {
        let len = match sys::receive(&socket, &mut reply, until) {
            Ok(len) => len,
            Err(why) => return why,
        };
        let [i0, i1, flags, codes, ..] = reply;
        let (got, rcode) = (u16::from_be_bytes([i0, i1]), codes & 0xf);
        if len < HEADER_LEN || got & !1 != id || flags & 0x80 == 0 {
            continue;
        }
        if rcode != 0 && rcode != 3 {
            return Asked::Refused;
        }
        open &= !(1 << (got & 1));
    }
    Asked::Answered
}

/// A query with RD set; its length.
fn question(out: &mut [u8; HEADER_LEN + 255 + 4], id: u16, name: &Name, family: Family) -> Option<usize> {
    let [i0, i1] = id.to_be_bytes();
    let rtype = match family {
        Family::A => 1,
        Family::Aaaa => 28,
    };
    let head = [i0, i1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let tail = [0, rtype, 0, 1];
    let octets = head.iter().chain(name.as_wire()).chain(&tail);
    let mut len = 0;
    for (to, from) in out.iter_mut().zip(octets) {
        *to = *from;
        len += 1;
    }
    Some(len)
}
