//! Batches with a simulated kernel that reads and writes through the pointers that it gets. Miri runs
//! these tests.

use super::*;

type Call<'a> = Box<dyn FnMut(*mut libc::mmsghdr, libc::c_uint) -> libc::c_int + 'a>;

const HEADER_LEN: usize = size_of::<libc::cmsghdr>();
/// Octets of the IP_PKTINFO message with its header.
const PKTINFO_LEN: usize = HEADER_LEN + 12;

fn peer_of(n: usize) -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, n as u8), 1000 + n as u16).into()
}

/// A recvmmsg that gives `count` datagrams, the n-th with n + 1 octets and a peer and interface of its
/// own.
fn receives(count: usize) -> Call<'static> {
    Box::new(move |headers, room| {
        assert!(count <= room as usize);
        for n in 0..count {
            // SAFETY: as recvmmsg(2): that many headers, whose pointers are valid for their lengths.
            unsafe {
                let header = &mut (*headers.add(n)).msg_hdr;
                assert_eq!(
                    (header.msg_iovlen, header.msg_namelen, header.msg_controllen),
                    (1, NAME_LEN, CONTROL_LEN)
                );
                let vector = *header.msg_iov;
                assert_eq!(vector.iov_len, QUERY_MAX);
                vector.iov_base.cast::<u8>().write_bytes(n as u8, n + 1);
                let (SocketAddr::V4(peer), mut name) = (peer_of(n), zeroed::<libc::sockaddr_in>()) else {
                    unreachable!("it is IPv4")
                };
                name.sin_family = libc::AF_INET as _;
                name.sin_port = peer.port().to_be();
                name.sin_addr.s_addr = u32::from(*peer.ip()).to_be();
                header.msg_name.cast::<libc::sockaddr_in>().write(name);
                header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                let mut control = [0; PKTINFO_LEN];
                control[8..12].copy_from_slice(&libc::IPPROTO_IP.to_ne_bytes());
                control[12..16].copy_from_slice(&libc::IP_PKTINFO.to_ne_bytes());
                control[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&7_i32.to_ne_bytes());
                control[HEADER_LEN + 4..].fill(n as u8);
                header.msg_control.cast::<[u8; PKTINFO_LEN]>().write(control);
                header.msg_controllen = PKTINFO_LEN as _;
                (*headers.add(n)).msg_len = n as u32 + 1;
            }
        }
        count as libc::c_int
    })
}

/// A datagram that the kernel got: octets, port, control message.
type Sent = (Vec<u8>, u16, Vec<u8>);

/// A sendmmsg that takes at most `at_once` datagrams per call.
fn sends(sent: &mut Vec<Sent>, at_once: usize) -> Call<'_> {
    Box::new(move |headers, count| {
        let count = (count as usize).min(at_once);
        for n in 0..count {
            // SAFETY: as sendmmsg(2): that many headers, whose pointers are valid for their lengths.
            unsafe {
                let header = &(*headers.add(n)).msg_hdr;
                let vector = *header.msg_iov;
                let octets =
                    std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len).to_vec();
                let has_name = header.msg_namelen > 0;
                let port = has_name.then(|| (*header.msg_name.cast::<libc::sockaddr_in>()).sin_port);
                let control = match header.msg_controllen {
                    0 => Vec::new(),
                    len => std::slice::from_raw_parts(header.msg_control.cast::<u8>(), len).to_vec(),
                };
                sent.push((octets, u16::from_be(port.unwrap_or(0)), control));
            }
        }
        count as libc::c_int
    })
}

fn is_from(control: &[u8], n: usize) -> bool {
    control.len() == PKTINFO_LEN
        && control[HEADER_LEN..HEADER_LEN + 4] == [0; 4]
        && control[HEADER_LEN + 4..].iter().all(|octet| usize::from(*octet) == n)
}

#[test]
fn a_reused_batch_is_read_and_answered() {
    let mut batch = Batch::new();
    for count in [3, 1, BATCH_MAX, 2, 2] {
        assert_eq!(batch.receive_by(receives(count)).expect("no error"), count);
        let (received, mut replies) = batch.parts();
        for n in 0..count {
            assert_eq!(received.query(n), vec![n as u8; n + 1]);
            assert_eq!(received.peer(n), Some(peer_of(n)));
            // Every third datagram gets no reply.
            replies.write(n, |out| {
                out[0] = n as u8;
                usize::from(n % 3 != 2)
            });
            assert_eq!(received.query(n)[n], n as u8, "the reply does not overwrite the query");
        }
        assert_eq!(batch.query(0), [0]);
        let later = batch.route(count - 1);
        // The batch is moved while the kernel has pointers into it.
        let mut moved = Box::new(batch);
        let mut sent = Vec::new();
        assert_eq!(moved.send_by(sends(&mut sent, 2)), count - count / 3);
        for (n, (octets, port, control)) in (0..count).filter(|n| n % 3 != 2).zip(&sent) {
            assert_eq!((&octets[..], *port), (&[n as u8][..], peer_of(n).port()));
            assert!(is_from(control, n), "sent from the queried address, by any interface");
        }
        batch = *moved;
        let mut outgoing = Outgoing::new();
        let write = |out: &mut [u8; REPLY_MAX]| {
            out[..5].copy_from_slice(b"later");
            5
        };
        assert!(outgoing.push(&later, write) && outgoing.push(&Route::connected(), write));
        let mut outgoing = Box::new(outgoing);
        assert!(!outgoing.push(&later, |_| 0), "an empty datagram is not added");
        let mut sent = Vec::new();
        assert_eq!((outgoing.send_by(sends(&mut sent, 9)), outgoing.len()), (2, 0));
        assert_eq!((&sent[0].0[..], sent[0].1), (&b"later"[..], peer_of(count - 1).port()));
        assert!(is_from(&sent[0].2, count - 1));
        assert_eq!((sent[1].1, sent[1].2.len()), (0, 0), "to the peer of the socket");
        // The slots are used again.
        assert!(outgoing.push(&later, write) && outgoing.send_by(sends(&mut Vec::new(), 9)) == 1);
    }
}

#[test]
fn a_batch_is_bounded() {
    let mut outgoing = Outgoing::new();
    let route = Route::connected();
    let pushed = (0..BATCH_MAX + 3).filter(|_| outgoing.push(&route, |out| out.len())).count();
    assert_eq!(pushed, BATCH_MAX);
    let mut sent = Vec::new();
    assert_eq!(outgoing.send_by(sends(&mut sent, BATCH_MAX)), BATCH_MAX);
    assert!(sent.iter().all(|(octets, ..)| octets.len() == REPLY_MAX));
}

#[test]
fn a_refused_datagram_is_skipped() {
    let mut batch = Batch::new();
    batch.receive_by(receives(3)).expect("no error");
    let (_, mut replies) = batch.parts();
    (0..3).for_each(|n| replies.write(n, |_| 1));
    let mut calls = 0;
    let taken = batch.send_by(|_, count| {
        calls += 1;
        // SAFETY: the thread's own errno.
        unsafe { *libc::__errno_location() = libc::EPERM };
        if calls == 1 { -1 } else { count as libc::c_int }
    });
    assert_eq!((taken, calls), (2, 2));
    let failed = batch.receive_by(|_, _| {
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = libc::EAGAIN };
        -1
    });
    assert_eq!(failed.expect_err("none is there").kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.send_by(|_, _| unreachable!("there is nothing to answer")), 0);
}
