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
/// How long the other family is waited for once one has records, if a connection is to be made
/// (RFC 8305 section 3, Resolution Delay).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// Octets of the largest query: header, name, type and class.
const QUERY_MAX: usize = HEADER_LEN + NAME_MAX + 4;

/// Why the daemon gave no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// The daemon replied with an error, or its socket is closed.
    Refused,
    /// The daemon did not reply in time.
    Silent,
}

/// What the daemon has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answered {
    /// Each wanted family.
    All,
    /// One of the families, which has records.
    One,
}

/// How long the daemon's replies are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The time at which the wait began.
    pub began: Monotonic,
    /// The time at which it ends.
    pub until: Monotonic,
}

/// Asks for the wanted families of `name`. `Ok`: the daemon has answered, with addresses or a denial. If
/// `HASTY`, the second reply is waited for at most 50 ms after a first one with records.
/// (A constant, so that the NSS module has no code for it.)
///
/// # Errors
/// Why there is no answer.
#[cold]
pub fn ask<const HASTY: bool>(
    daemon: &SocketAddr,
    name: &Name,
    wanted: Wanted,
    wait: Wait,
) -> Result<Answered, Unanswered> {
    let socket = sys::connect(daemon).ok_or(Unanswered::Refused)?;
    // The id need not be secret: a forger would have to send from the daemon's own address, and a
    // forged reply only makes us read the table. The lowest bit stands for the family.
    let began = wait.began.0;
    let id = (began ^ began >> 16 ^ u64::from(sys::process_id())) as u16 & !1;
    // A bit for each query that waits for its reply, by the lowest bit of its id.
    let mut waiting = 0;
    let mut until = wait.until;
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
    let mut is_enough = false;
    while waiting != 0 {
        let len = match sys::receive(&socket, &mut reply, until) {
            Err(Unanswered::Silent) if HASTY && is_enough => return Ok(Answered::One),
            received => received?,
        };
        let [i0, i1, flags, codes, _, _, r0, r1, ..] = reply;
        let (got, rcode) = (u16::from_be_bytes([i0, i1]), codes & 0xf);
        if len < HEADER_LEN || got & !1 != id || flags & 0x80 == 0 {
            continue;
        }
        // NOERROR and NXDOMAIN.
        if rcode != 0 && rcode != 3 {
            return Err(Unanswered::Refused);
        }
        waiting &= !(1 << (got & 1));
        if HASTY && !is_enough && [r0, r1] != [0, 0] {
            is_enough = true;
            until = until.min(sys::now().plus(RESOLUTION_DELAY));
        }
    }
    Ok(Answered::All)
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
