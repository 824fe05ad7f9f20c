//! Asking the daemon over its DNS socket. The answer itself is then read from the table, since the
//! daemon publishes it before it replies.

use crate::sys;
use core::net::SocketAddr;
use core::time::Duration;
use hither_table::{Family, Monotonic, Wanted};
use hither_wire::header::HEADER_LEN;
use hither_wire::name::{NAME_MAX, Name};

/// How long a thread waits for the daemon's reply about one name. The daemon waits longer for its
/// upstreams, but the caller has other NSS modules to try.
pub(crate) const REPLY_WAIT_MAX: Duration = Duration::from_millis(1500);
/// How long one call of a program waits for the daemon, for all names that it looks up together.
pub(crate) const CALL_WAIT_MAX: Duration = Duration::from_millis(2500);
/// How long a process does not ask a daemon that hangs.
pub(crate) const HANG_PAUSE: Duration = Duration::from_secs(10);
/// Octets of the largest query: header, name, type and class.
const QUERY_MAX: usize = HEADER_LEN + NAME_MAX + 4;

/// Why the daemon gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unanswered {
    /// The daemon replied with an error, or its socket is closed.
    Refused,
    /// The daemon did not reply in time.
    Silent,
}

/// The time at which a wait began, and the time at which it ends.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub began: Monotonic,
    pub until: Monotonic,
}

/// Asks for the wanted families of `name`. `Ok`: the daemon has answered each of them, with
/// addresses or a denial.
#[cold]
pub(crate) fn ask(daemon: &SocketAddr, name: &Name, wanted: Wanted, wait: Wait) -> Result<(), Unanswered> {
    let socket = sys::connect(daemon).ok_or(Unanswered::Refused)?;
    // The id need not be secret: a forger would have to send from the daemon's own address, and a
    // forged reply only makes us read the table. The lowest bit stands for the family.
    let began = wait.began.0;
    let id = (began ^ began >> 16 ^ u64::from(sys::process_id())) as u16 & !1;
    // A bit for each query that waits for its reply, by the lowest bit of its id.
    let mut waiting = 0;
    for (family, id) in [(Family::A, id), (Family::Aaaa, id | 1)] {
        if wanted.includes(family) {
            let mut query = [0; QUERY_MAX];
            let len = write_query(&mut query, id, name, family);
            let sent = query.get(..len).and_then(|query| sys::send(&socket, query));
            sent.ok_or(Unanswered::Refused)?;
            waiting |= 1 << (id & 1);
        }
    }
    // The header is enough; the kernel drops the rest of a longer datagram.
    let mut reply = [0; HEADER_LEN];
    while waiting != 0 {
        let len = sys::receive(&socket, &mut reply, wait.until)?;
        let [i0, i1, flags, codes, ..] = reply;
        let (got, rcode) = (u16::from_be_bytes([i0, i1]), codes & 0xf);
        if len < HEADER_LEN || got & !1 != id || flags & 0x80 == 0 {
            continue;
        }
        // NOERROR and NXDOMAIN.
        if rcode != 0 && rcode != 3 {
            return Err(Unanswered::Refused);
        }
        waiting &= !(1 << (got & 1));
    }
    Ok(())
}

/// Writes a query with RD set, and returns its length in octets.
fn write_query(out: &mut [u8; QUERY_MAX], id: u16, name: &Name, family: Family) -> usize {
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
    len
}
