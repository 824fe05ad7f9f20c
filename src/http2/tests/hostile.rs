//! Servers that break the protocol, or keep to it and try to wear us out: each gets a typed error, in
//! bounded memory. `../fuzz` tries what nobody wrote down.

mod support;

use hither_http2::{Config, Connection, Error, Event, Fault, Flood, HpackError};
use proptest::prelude::*;
use support::*;

/// Sends `frames` again and again until the connection ends, at most `times` times.
fn flooded(connection: &mut Connection, frames: &[u8], times: usize) -> (usize, Option<Error>) {
    for count in 0..times {
        if let Err(error) = connection.receive(frames) {
            return (count, Some(error));
        }
        while connection.poll_event().is_some() {}
        connection.transmit(&mut Vec::new());
    }
    (times, None)
}

#[test]
fn broken_frames_end_the_connection_with_a_typed_error() {
    let headers = frame(HEADERS, 0, 1, STATUS_200);
    let wrong_acks = frame(SETTINGS, ACK, 0, &[0; 6]);
    let cases = [
        (vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1], Error::FrameTooLarge(16_385)),
        (vec![0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 1], Error::FrameTooLarge(0xff_ffff)),
        (frame(DATA, 0, 0, b"x"), Error::FrameStream(DATA)),
        (frame(DATA, 0, 2, b"x"), Error::FrameStream(DATA)),
        (frame(DATA, 0, 5, b"x"), Error::FrameStream(DATA)),
        (frame(HEADERS, END_HEADERS, 0, STATUS_200), Error::FrameStream(HEADERS)),
        (frame(HEADERS, END_HEADERS, 4, STATUS_200), Error::FrameStream(HEADERS)),
        (frame(HEADERS, END_HEADERS, 7, STATUS_200), Error::FrameStream(HEADERS)),
        (frame(HEADERS, PRIORITY_FLAG, 1, &[0; 4]), Error::FrameLength(HEADERS)),
        (frame(RST_STREAM, 0, 0, &[0; 4]), Error::FrameStream(RST_STREAM)),
        (frame(RST_STREAM, 0, 9, &[0; 4]), Error::FrameStream(RST_STREAM)),
        (frame(RST_STREAM, 0, 1, &[0; 3]), Error::FrameLength(RST_STREAM)),
        (frame(SETTINGS, 0, 1, &[]), Error::FrameStream(SETTINGS)),
        (frame(SETTINGS, 0, 0, &[0; 5]), Error::FrameLength(SETTINGS)),
        (wrong_acks, Error::FrameLength(SETTINGS)),
        (frame(SETTINGS, 0, 0, &setting(2, 1)), Error::Setting(2)),
        (frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), Error::Setting(4)),
        (frame(SETTINGS, 0, 0, &setting(5, 100)), Error::Setting(5)),
        (frame(SETTINGS, 0, 0, &setting(9, 1).repeat(65)), Error::Flood(Flood::Settings)),
        (frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x88]), Error::Push),
        (frame(PING, 0, 1, &[0; 8]), Error::FrameStream(PING)),
        (frame(PING, 0, 0, &[0; 7]), Error::FrameLength(PING)),
        (frame(GOAWAY, 0, 1, &[0; 8]), Error::FrameStream(GOAWAY)),
        (frame(GOAWAY, 0, 0, &[0; 7]), Error::FrameLength(GOAWAY)),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 4]), Error::Window),
        (frame(WINDOW_UPDATE, 0, 0, &[0; 5]), Error::FrameLength(WINDOW_UPDATE)),
        (frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), Error::Window),
        (frame(WINDOW_UPDATE, 0, 9, &[0, 0, 0, 1]), Error::FrameStream(WINDOW_UPDATE)),
        (frame(CONTINUATION, 0, 1, &[]), Error::BrokenHeaderSection),
        ([headers.clone(), frame(PING, 0, 0, &[0; 8])].concat(), Error::BrokenHeaderSection),
        ([headers.clone(), frame(0xfe, 0, 0, &[])].concat(), Error::BrokenHeaderSection),
        ([headers.clone(), headers.clone()].concat(), Error::BrokenHeaderSection),
        ([headers, frame(CONTINUATION, END_HEADERS, 3, &[])].concat(), Error::BrokenHeaderSection),
        (frame(DATA, PADDED, 1, &[]), Error::FrameLength(DATA)),
        (frame(DATA, PADDED, 1, &[2, 0]), Error::Padding),
        (frame(HEADERS, END_HEADERS, 1, &[0x88, 0xbe]), Error::Hpack(HpackError::Index(62))),
        (frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xe2, 0x1f]), Error::Hpack(HpackError::TableSize)),
        (
            frame(HEADERS, END_HEADERS, 1, &[&[0x88][..], &[0x90; 2000]].concat()),
            Error::Flood(Flood::HeaderSection),
        ),
    ];
    for (frames, error) in cases {
        for size in [1, frames.len()] {
            let mut connection = connected(2);
            let result = frames.chunks(size).try_for_each(|piece| connection.receive(piece));
            assert_eq!(result, Err(error), "{frames:02x?}");
            let goaway = sent(&mut connection).pop().expect("GOAWAY");
            assert_eq!((goaway.kind, &goaway.payload[4..]), (GOAWAY, &error.code().0.to_be_bytes()[..]));
            assert_eq!(connection.receive(&frames), Err(Error::Closed));
            assert_eq!((connection.streams(), connection.is_closed()), (0, true));
        }
    }
}

#[test]
fn other_protocols_are_recognized() {
    for octets in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &frame(SETTINGS, ACK, 0, &[]), &frame(PING, 0, 0, &[0; 8])]
    {
        let mut connection = Connection::new(Config::default());
        assert_eq!(connection.receive(octets), Err(Error::NotHttp2));
    }
}

#[test]
fn floods_of_useless_frames_end_the_connection() {
    let floods = [
        frame(SETTINGS, 0, 0, &setting(4, 65_535)),
        frame(SETTINGS, ACK, 0, &[]),
        frame(PING, 0, 0, &[0; 8]),
        frame(PING, ACK, 0, &[0; 8]),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(0xfe, 0, 0, &[0; 100]),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
        frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(GOAWAY, 0, 0, &[0, 0, 0, 9, 0, 0, 0, 0]),
        frame(DATA, 0, 3, &[]),
        frame(DATA, PADDED, 3, &[0]),
        frame(DATA, 0, 1, &[0; 10]),
        frame(HEADERS, END_HEADERS, 1, STATUS_200),
        frame(HEADERS, END_HEADERS, 5, &field(":status", "103")),
    ];
    for flood in floods {
        let mut connection = connected(3);
        connection.cancel(stream(1));
        connection.receive(&frame(HEADERS, END_HEADERS, 3, STATUS_200)).expect("a sound frame");
        let (count, error) = flooded(&mut connection, &flood, 20_000);
        assert_eq!(error, Some(Error::Flood(Flood::Useless)), "{flood:02x?} after {count}");
        assert!(count <= 1100, "{count} of {flood:02x?}");
    }
}

#[test]
fn a_header_section_without_an_end_is_bounded() {
    for fragment in [&[][..], &[0; 10], &[0; 16_384]] {
        let mut connection = connected(1);
        connection.receive(&frame(HEADERS, 0, 1, STATUS_200)).expect("a sound frame");
        let (count, error) = flooded(&mut connection, &frame(CONTINUATION, 0, 1, fragment), 20_000);
        assert!(matches!(error, Some(Error::Flood(Flood::HeaderSection | Flood::Useless))), "{error:?}");
        assert!(count < 1100);
    }
}

#[test]
fn large_entries_of_the_table_do_not_multiply() {
    let mut connection = connected(1);
    let entry = [&b"\x88\x40\x01a\x7f\xa1\x1e"[..], &[b'x'; 4000], &[0xbe; 12_000]].concat();
    assert_eq!(connection.receive(&frame(HEADERS, 4, 1, &entry)), Err(Error::Flood(Flood::HeaderSection)));
}

#[test]
fn acknowledgements_that_a_server_does_not_read_are_bounded() {
    let mut connection = connected(256);
    // Responses restore patience, so the acknowledgements alone are what grows.
    let error = (0..256).find_map(|n| {
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(90);
        connection.receive(&[pings, response(2 * n + 1, b"a")].concat()).err()
    });
    assert_eq!(error, Some(Error::Flood(Flood::Unread)));
}

#[test]
fn a_server_that_exceeds_a_window_is_refused() {
    let mut connection = connected(256);
    let mut total = 0;
    let error = (0..256).find_map(|n| {
        let id = 2 * n + 1;
        connection.receive(&frame(HEADERS, END_HEADERS, id, STATUS_200)).expect("a sound frame");
        total += 16_000;
        connection.receive(&frame(DATA, 0, id, &[1; 16_000])).err()
    });
    assert_eq!(error, Some(Error::Window));
    assert!(total <= (1 << 20) + 16_000, "{total} octets held");
}

#[test]
fn bodies_that_are_too_large_are_cut_off() {
    let mut connection = connected(2);
    connection.receive(&frame(HEADERS, END_HEADERS, 1, STATUS_200)).expect("a sound frame");
    (0..5).for_each(|_| connection.receive(&frame(DATA, 0, 1, &[1; 16_000])).expect("sound frames"));
    let events = events(&mut connection);
    assert!(matches!(events[..], [Event::Reset { fault: Some(Fault::BodyTooLarge), may_retry: false, .. }]));
    connection.receive(&frame(HEADERS, END_HEADERS, 3, &[0x8e])).expect("a sound frame");
    (0..5).for_each(|_| connection.receive(&frame(DATA, 0, 3, &[1; 16_000])).expect("sound frames"));
    let Some(Event::Response(response)) = connection.poll_event() else { panic!("no response") };
    assert_eq!((response.status, response.body.len()), (500, 0));
}

#[test]
fn answers_for_other_streams_and_twice_reach_nobody() {
    let mut connection = connected(2);
    connection
        .receive(&[response(1, b"a"), response(1, b"forged"), response(3, b"b")].concat())
        .expect("sound");
    assert_eq!(bodies(&events(&mut connection)), [(1, b"a".to_vec()), (3, b"b".to_vec())]);
}

#[test]
fn every_request_that_is_reset_costs_bounded_memory() {
    let mut connection = connected(0);
    for _ in 0..100_000 {
        let id = ask(&mut connection, &[7; 40]);
        if id % 4 == 1 {
            connection.receive(&frame(RST_STREAM, 0, id, &[0, 0, 0, 7])).expect("a sound frame");
        } else {
            connection.cancel(stream(id));
        }
        connection.receive(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 40])).unwrap_or(());
        events(&mut connection);
        connection.transmit(&mut Vec::new());
        if connection.is_closed() {
            connection = connected(0);
        }
        assert_eq!(connection.streams(), 0);
    }
}

/// Frames of all kinds, most of them nearly sound.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(STATUS_200.to_vec()),
        Just(vec![0, 0, 0, 1]),
        Just(vec![0; 8]),
    ];
    let stream = prop_oneof![Just(0_u32), Just(1), Just(3), Just(5), any::<u32>()];
    (0_u8..11, any::<u8>(), stream, payload)
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload))
}

proptest! {
    #[test]
    fn any_frames_give_events_or_one_error_whatever_their_pieces(
        frames in proptest::collection::vec(any_frame(), 0..30),
        size in 1_usize..50,
    ) {
        let octets = frames.concat();
        let outcome = |size: usize| {
            let mut connection = connected(3);
            let result = octets.chunks(size).try_for_each(|piece| connection.receive(piece));
            (result, events(&mut connection), sent(&mut connection))
        };
        prop_assert_eq!(outcome(size), outcome(octets.len().max(1)));
    }
}
