//! Looks up the host names of encrypted upstreams: the daemon asks its own core, as a client would.

use crate::daemon::clients::waiting_clients::{Pending, ReplyTo};
use crate::daemon::event_loop::Daemon;
use crate::daemon::upstreams::LookUp;
use hither_rounds::{Input, Question};
use hither_table::Monotonic;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::query::Query;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of the daemon, as a client of its own.
const OURSELVES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Daemon {
    /// Begins the look-ups that are due. The core may answer from its cache at once.
    pub(super) fn look_up_hosts(&mut self, now: Monotonic) {
        while let Some(LookUp { question, is_past_cache }) = self.upstreams.encrypted().next_look_up(now) {
            if is_past_cache {
                self.tell(now, Input::Flush { names: Some(vec![question.name]) });
            }
            self.look_up(&question, now);
        }
    }

    fn look_up(&mut self, question: &Question, now: Monotonic) {
        let mut octets = [0; 300];
        // With EDNS the reply says whether a block list has the name.
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, false)) };
        let asked = Asked { name: &question.name, rtype: question.rtype };
        let len = query(&mut octets, 0, &asked, bits);
        let Ok(read) = Query::read(&octets[..len]) else { return };
        let client = self.clients.wait(Pending::new(&read, ReplyTo::HostName, OURSELVES, now));
        self.tell(now, Input::Ask { client, question, recursion: true });
    }
}
