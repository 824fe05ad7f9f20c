//! What servers may do, and what the connection makes of it.

mod support;

use hither_http2::{Config, Connection, ErrorCode, Event, Fault, Refused, Request};
use support::*;

#[test]
fn a_connection_begins_with_the_preface_and_may_ask_at_once() {
    let mut connection = Connection::new(Config::default());
    assert_eq!(ask(&mut connection, b"query"), 1);
    let mut octets = Vec::new();
    connection.transmit(&mut octets);
    assert!(octets.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x18\x04"));
    let mut connection = Connection::new(Config::default());
    ask(&mut connection, b"query");
    let frames = sent(&mut connection);
    let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.flags, frame.stream)).collect();
    let expected =
        [(SETTINGS, 0, 0), (WINDOW_UPDATE, 0, 0), (HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1)];
    assert_eq!(kinds, expected);
    let settings = &frames[0].payload;
    assert!(settings.starts_with(&[setting(1, 0), setting(2, 0)].concat()), "no table, no push");
    assert_eq!(frames[3].payload, b"query");
}

#[test]
fn responses_arrive_in_any_order_and_in_pieces_of_any_size() {
    let stream = [
        frame(HEADERS, END_HEADERS | PADDED, 3, &[&[2][..], STATUS_200, &[0; 2]].concat()),
        frame(HEADERS, END_HEADERS | PRIORITY_FLAG, 1, &[&[0; 5], STATUS_200].concat()),
        frame(DATA, 0, 1, b"fir"),
        frame(DATA, END_STREAM | PADDED, 3, b"\x03second\0\0\0"),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(0xfe, 0xff, 9, b"unknown"),
        frame(DATA, 0, 1, b"st"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &field("trailer", "x")),
    ]
    .concat();
    for size in [1, 2, 8, 9, 10, 64, stream.len()] {
        let mut connection = connected(2);
        stream.chunks(size).for_each(|piece| connection.receive(piece).expect("sound frames"));
        let expected = [(3, b"second".to_vec()), (1, b"first".to_vec())];
        assert_eq!(bodies(&events(&mut connection)), expected, "in pieces of {size}");
        assert_eq!(connection.streams(), 0);
    }
}

#[test]
fn informational_responses_precede_the_final_one() {
    let mut connection = connected(1);
    let early = frame(HEADERS, END_HEADERS, 1, &field(":status", "103"));
    connection.receive(&[early.clone(), early, response(1, b"answer")].concat()).expect("sound frames");
    assert_eq!(bodies(&events(&mut connection)), [(1, b"answer".to_vec())]);
}

#[test]
fn a_header_section_may_be_continued() {
    let mut connection = connected(1);
    let section = [field(":status", "200"), field("content-type", "application/dns-message")].concat();
    let (first, rest) = section.split_at(5);
    let frames = [
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, rest),
    ];
    connection.receive(&frames.concat()).expect("sound frames");
    let events = events(&mut connection);
    let [Event::Response(response)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(response.headers.content_type.as_deref(), Some("application/dns-message"));
}

#[test]
fn after_goaway_open_streams_are_answered_and_others_may_be_retried() {
    let mut connection = connected(3);
    connection.receive(&frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0])).expect("a sound frame");
    let reset =
        Event::Reset { stream: stream(5), code: ErrorCode::REFUSED_STREAM, fault: None, may_retry: true };
    assert_eq!(events(&mut connection), [Event::GoAway { last: 3, code: ErrorCode::NO_ERROR }, reset]);
    let request = Request { authority: "a", path: "/", body: b"x", accept: "a/b" };
    assert_eq!(connection.request(&request), Err(Refused::Draining));
    connection.receive(&[response(3, b"b"), response(1, b"a")].concat()).expect("sound frames");
    assert_eq!(bodies(&events(&mut connection)), [(3, b"b".to_vec()), (1, b"a".to_vec())]);
}

#[test]
fn a_refused_stream_may_be_retried_and_one_that_failed_may_not() {
    let mut connection = connected(2);
    connection.receive(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 7])).expect("a sound frame");
    connection.receive(&frame(RST_STREAM, 0, 3, &[0, 0, 0, 2])).expect("a sound frame");
    let reset = |id, code, may_retry| Event::Reset { stream: stream(id), code, fault: None, may_retry };
    let expected = [reset(1, ErrorCode::REFUSED_STREAM, true), reset(3, ErrorCode(2), false)];
    assert_eq!(events(&mut connection), expected);
}

#[test]
fn settings_are_acknowledged_kept_and_limit_the_streams() {
    let mut connection = Connection::new(Config::default());
    assert_eq!(connection.streams_max(), 100);
    connection.receive(&frame(SETTINGS, 0, 0, &setting(3, 2))).expect("a sound frame");
    assert_eq!(events(&mut connection), [Event::Ready { streams_max: 2 }]);
    connection.receive(&frame(SETTINGS, 0, 0, &setting(6, 4096))).expect("a sound frame");
    assert_eq!((events(&mut connection), connection.streams_max()), (vec![], 2));
    let acks =
        sent(&mut connection).iter().filter(|frame| (frame.kind, frame.flags) == (SETTINGS, ACK)).count();
    assert_eq!(acks, 2);
    for _ in 0..2 {
        ask(&mut connection, b"x");
    }
    let request = Request { authority: "a", path: "/", body: b"x", accept: "a/b" };
    assert_eq!(connection.request(&request), Err(Refused::Full));
    connection.receive(&response(1, b"")).expect("sound frames");
    assert!(connection.request(&request).is_ok());
    connection.receive(&frame(SETTINGS, 0, 0, &setting(3, 9000))).expect("a sound frame");
    assert_eq!(events(&mut connection)[1..], [Event::Limits { streams_max: 256 }]);
}

#[test]
fn bodies_of_requests_wait_for_windows() {
    let mut connection = Connection::new(Config::default());
    connection.receive(&frame(SETTINGS, 0, 0, &setting(4, 0))).expect("a sound frame");
    for _ in 0..2 {
        ask(&mut connection, &[7; 40]);
    }
    let data = |connection: &mut Connection| {
        let data = sent(connection).into_iter().filter(|frame| frame.kind == DATA);
        data.map(|frame| (frame.stream, frame.payload.len(), frame.flags)).collect::<Vec<_>>()
    };
    assert_eq!(data(&mut connection), []);
    connection.receive(&frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 30])).expect("a sound frame");
    assert_eq!(data(&mut connection), [(3, 30, 0)]);
    connection.receive(&frame(SETTINGS, 0, 0, &setting(4, 20))).expect("a sound frame");
    assert_eq!(data(&mut connection), [(1, 20, 0), (3, 10, END_STREAM)]);
    connection.receive(&frame(SETTINGS, 0, 0, &setting(4, 5))).expect("a sound frame");
    connection.receive(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 15])).expect("a window of zero");
    assert_eq!(data(&mut connection), []);
    connection.receive(&response(1, b"early")).expect("sound frames");
    assert_eq!(bodies(&events(&mut connection)), [(1, b"early".to_vec())]);
    let reset = sent(&mut connection).pop().expect("a frame");
    assert_eq!((reset.kind, reset.stream), (RST_STREAM, 1), "the rest of the request is not sent");
}

#[test]
fn the_window_of_the_connection_holds_for_all_requests() {
    let mut connection = connected(0);
    let mut early = Vec::new();
    for _ in 0..3 {
        ask(&mut connection, &[7; 65_535]);
        early.extend(sent(&mut connection));
    }
    let octets = |frames: Vec<Sent>| {
        frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.payload.len()).sum::<usize>()
    };
    assert_eq!(octets(early), 65_535);
    connection.receive(&frame(WINDOW_UPDATE, 0, 0, &200_000_u32.to_be_bytes())).expect("a sound frame");
    assert_eq!(octets(sent(&mut connection)), 2 * 65_535);
}

#[test]
fn octets_return_to_the_server_when_they_are_no_longer_held() {
    let mut connection = connected(0);
    let mut returned = 65_535;
    for round in 0..100 {
        let id = ask(&mut connection, b"x");
        let body = frame(DATA, 0, id, &[1; 16_000]);
        connection.receive(&frame(HEADERS, END_HEADERS, id, STATUS_200)).expect("a sound frame");
        (0..4).for_each(|_| connection.receive(&body).expect("within the window"));
        match round % 3 {
            0 => connection.receive(&frame(DATA, END_STREAM, id, &[])).expect("a sound frame"),
            1 => connection.receive(&frame(RST_STREAM, 0, id, &[0; 4])).expect("a sound frame"),
            _ => connection.cancel(stream(id)),
        }
        let updates = sent(&mut connection)
            .into_iter()
            .filter(|frame| (frame.kind, frame.stream) == (WINDOW_UPDATE, 0));
        returned +=
            updates.map(|frame| u32::from_be_bytes(frame.payload.try_into().expect("a number"))).sum::<u32>();
        events(&mut connection);
    }
    assert!(returned > 6_000_000, "{returned}");
}

#[test]
fn a_body_of_padding_and_dropped_bodies_never_stall() {
    let mut connection = connected(2);
    connection.receive(&frame(HEADERS, END_HEADERS, 1, STATUS_200)).expect("a sound frame");
    let padded = frame(DATA, PADDED, 1, &[&[255][..], &[1], &[0; 255]].concat());
    for _ in 0..5000 {
        connection.receive(&padded).expect("within the window");
    }
    assert!(sent(&mut connection).iter().any(|frame| (frame.kind, frame.stream) == (WINDOW_UPDATE, 1)));
    connection.receive(&frame(HEADERS, END_HEADERS, 3, &[0x8d])).expect("a sound frame");
    connection.receive(&frame(DATA, END_STREAM, 3, &[1; 10_000])).expect("a sound frame");
    let Some(Event::Response(response)) = connection.poll_event() else { panic!("no response") };
    assert_eq!((response.status, response.body), (404, vec![]));
}

#[test]
fn what_arrives_for_a_cancelled_stream_is_dropped() {
    let mut connection = connected(2);
    connection.cancel(stream(1));
    connection.cancel(stream(1));
    let resets = sent(&mut connection);
    assert_eq!((resets.len(), resets[0].kind, &*resets[0].payload), (1, RST_STREAM, &[0, 0, 0, 8][..]));
    connection.receive(&[response(1, b"late"), response(3, b"answer")].concat()).expect("sound frames");
    assert_eq!(bodies(&events(&mut connection)), [(3, b"answer".to_vec())]);
}

#[test]
fn header_sections_of_cancelled_streams_fill_the_table() {
    let mut connection = connected(2);
    connection.cancel(stream(1));
    let late = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x88][..], b"\x40\x03age\x019"].concat());
    let answer = frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0x88, 0xbe]);
    connection.receive(&[late, answer].concat()).expect("sound frames");
    let Some(Event::Response(response)) = connection.poll_event() else { panic!("no response") };
    assert_eq!(response.headers.age_s, Some(9));
}

#[test]
fn requests_that_cannot_be_sent_are_refused() {
    let sound = Request { authority: "a", path: "/", body: b"x", accept: "a/b" };
    let long = "/".repeat(9000);
    let mut connection = connected(0);
    for request in [
        Request { authority: "a\r\nb", ..sound },
        Request { authority: "", ..sound },
        Request { path: "no-slash", ..sound },
        Request { path: "/a b", ..sound },
        Request { path: &long, ..sound },
        Request { body: &[0; 65_536], ..sound },
    ] {
        assert_eq!(connection.request(&request), Err(Refused::Unsendable), "{:?}", request.path.get(..9));
    }
    let refused = (0..20).find_map(|_| connection.request(&Request { path: &long[..8000], ..sound }).err());
    assert_eq!(refused, Some(Refused::Unsent), "{:?}", connection.streams());
    connection.close();
    assert_eq!(connection.request(&sound), Err(Refused::Closed));
    assert!(sent(&mut connection).pop().is_some_and(|frame| frame.kind == GOAWAY && frame.payload == [0; 8]));
}

#[test]
fn a_fault_of_one_response_leaves_the_others() {
    let faults = [
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, &field("a", "b")), Fault::Status),
        (
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0x88][..], &field("A", "b")].concat()),
            Fault::Field,
        ),
        (frame(DATA, END_STREAM, 1, b"no status"), Fault::Order),
        (
            [frame(HEADERS, END_HEADERS, 1, STATUS_200), frame(HEADERS, END_HEADERS, 1, &[])].concat(),
            Fault::Order,
        ),
        (frame(HEADERS, END_HEADERS | END_STREAM, 1, &field(":status", "103")), Fault::Order),
        (
            frame(HEADERS, END_HEADERS, 1, &[&[0x88][..], &field("content-length", "65536")].concat()),
            Fault::BodyTooLarge,
        ),
        (
            [
                frame(HEADERS, END_HEADERS, 1, &[&[0x88][..], &field("content-length", "3")].concat()),
                frame(DATA, END_STREAM, 1, b"four"),
            ]
            .concat(),
            Fault::ContentLength,
        ),
        (frame(WINDOW_UPDATE, 0, 1, &[0; 4]), Fault::Window),
        (frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]), Fault::Window),
    ];
    for (frames, fault) in faults {
        let mut connection = connected(2);
        connection.receive(&frames).expect("an error of the stream");
        let reset =
            Event::Reset { stream: stream(1), code: fault.code(), fault: Some(fault), may_retry: false };
        assert_eq!(events(&mut connection), [reset]);
        assert!(sent(&mut connection).iter().any(|frame| (frame.kind, frame.stream) == (RST_STREAM, 1)));
        connection.receive(&response(3, b"answer")).expect("sound frames");
        assert_eq!(bodies(&events(&mut connection)), [(3, b"answer".to_vec())]);
    }
}
