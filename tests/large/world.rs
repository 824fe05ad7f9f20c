//! A core without a daemon that processes one large response after the other, all over TCP.

use super::messages::{asked, message};
use hither_rounds::{
    Action, Answer, ClientId, Input, Limits, Question, Rounds, Routes, Settings, Transport, reply,
};
use hither_table::{Geometry, Memory, Monotonic, Writer};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::query::Query;
use std::collections::VecDeque;
use std::net::SocketAddr;

pub struct World {
    core: Rounds,
    now: Monotonic,
    out: Vec<u8>,
    messages: u64,
}

impl World {
    pub fn new() -> World {
        let geometry = Geometry { entries: 64 };
        let writer =
            Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        let mut random = 7_u64;
        let random = Box::new(move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            random
        });
        let upstream = SocketAddr::from(([192, 0, 2, 1], 53));
        let limits = Limits { answers: 64, ..Limits::default() };
        let settings = Settings { limits, ..Settings::default() };
        let core = Rounds::new(settings, Routes::from(&[upstream][..]), writer, random);
        World { core, now: Monotonic::from_ms(1_000_000), out: vec![0; 65_535], messages: 0 }
    }

    /// How many large responses the latest question took.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Asks for name `n`; returns the outcome and the length of the reply.
    pub fn ask(&mut self, (kind, rtype, dnssec_ok): (&str, Rtype, bool), n: usize) -> (Answer, usize) {
        self.now = Monotonic(self.now.0 + 1_000_000);
        let name = asked(kind, n).parse().expect("a name");
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, dnssec_ok)) };
        let mut octets = [0; 300];
        let len = query(&mut octets, 7, &Asked { name: &name, rtype }, bits);
        let read = Query::read(&octets[..len]).expect("a query");
        let (client, question) = (ClientId(n as u64), Question::of(&read));
        self.core.handle(self.now, Input::Ask { client, question: &question, recursion: true });
        let (mut told, mut arrived) = (None, VecDeque::new());
        self.messages = 0;
        for _ in 0..1_000 {
            match self.core.poll_action() {
                Some(Action::Send { attempt, transport, octets, .. }) => {
                    let large = match transport {
                        Transport::Udp => {
                            let end = 12 + Query::read(&octets).expect("a query of ours").question().len();
                            let header = [&octets[..2], &[0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
                            [&header[..], &octets[12..end]].concat()
                        }
                        Transport::Tcp | Transport::Tls | Transport::Https | Transport::Quic => {
                            self.messages += 1;
                            message(kind, &octets)
                        }
                    };
                    arrived.push_back((attempt, large));
                }
                Some(Action::Reply { answer, .. }) => {
                    let len = reply::compose(self.now, &read, &answer, 65_535, &mut self.out);
                    told = Some((answer, len));
                }
                Some(_) => {}
                None => match (arrived.pop_front(), told.take()) {
                    (Some((attempt, large)), before) => {
                        told = before;
                        self.core.handle(self.now, Input::Message { attempt, octets: &large });
                    }
                    (None, Some(told)) => return told,
                    (None, None) => {
                        self.now = self.core.poll_timeout().expect("the client is answered some time");
                        self.core.handle_timeout(self.now);
                    }
                },
            }
        }
        panic!("the round does not end");
    }
}
