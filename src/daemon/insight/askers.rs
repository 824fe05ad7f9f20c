//! The units behind clients: looked up by the socket of a query that waits for its round.
//!
//! A client on another host, in another network namespace, or whose socket is closed has no unit here.

use crate::host::cgroups::Cgroups;
use hither_control::{AskedBy, Asker};
use hither_net::sock_diag::{Owner, Protocol, SockDiag};
use hither_table::Monotonic;
use hither_wire::name::Name;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long the unit of a socket is remembered. Its port may be another program's afterwards.
const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Sockets that are remembered.
const KNOWN_MAX: usize = 4096;
/// Look-ups in a second; at some 10 microseconds each they take a fiftieth of a processor.
const LOOKUPS_PER_SECOND_MAX: u32 = 2000;
/// Queries whose unit is remembered until their reply.
const WAITING_MAX: usize = 4096;
/// Queries whose unit is remembered for `hitherctl explain`.
const ASKED_MAX: usize = 1024;

/// A socket of a client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ClientSocket {
    pub address: SocketAddr,
    pub is_tcp: bool,
}

/// Looks up the units of clients.
#[derive(Debug)]
pub(super) struct Units {
    diag: Result<SockDiag, String>,
    cgroups: Option<Cgroups>,
    /// The unit of each socket; empty: there is none.
    known: HashMap<ClientSocket, (Arc<str>, Monotonic)>,
    waiting: Waiting,
    second: u64,
    lookups: u32,
    /// Why the kernel did not say the control group of a socket that it knows.
    problem: Option<String>,
    unknown: Arc<str>,
}

impl Units {
    pub fn new() -> Units {
        Units {
            diag: SockDiag::new().map_err(|error| format!("the kernel cannot be asked for sockets: {error}")),
            cgroups: Cgroups::find(),
            known: HashMap::new(),
            waiting: Waiting::default(),
            second: 0,
            lookups: 0,
            problem: None,
            unknown: Arc::from(""),
        }
    }

    /// The unit of a client whose query waits; empty if it is not known.
    pub fn look_up(&mut self, client: ClientSocket, server: Option<SocketAddr>, now: Monotonic) -> Arc<str> {
        if let Some((unit, at)) = self.known.get(&client)
            && now < at.plus(KNOWN_FOR)
        {
            return Arc::clone(unit);
        }
        let second = now.as_ms() / 1000;
        if second != self.second {
            (self.second, self.lookups) = (second, 0);
        }
        self.lookups += 1;
        if self.lookups > LOOKUPS_PER_SECOND_MAX {
            // What is known is of an earlier query, perhaps of another program.
            self.known.remove(&client);
            return Arc::clone(&self.unknown);
        }
        let unit = self.find(client, server, now).unwrap_or_else(|| Arc::clone(&self.unknown));
        if self.known.len() >= KNOWN_MAX {
            self.known.retain(|_, (_, at)| now < at.plus(KNOWN_FOR));
        }
        if self.known.len() < KNOWN_MAX {
            self.known.insert(client, (Arc::clone(&unit), now));
        }
        unit
    }

    /// The unit of a client that asked at a time, if another query of it was looked up shortly before.
    pub fn known(&self, client: ClientSocket, asked: Monotonic) -> Option<&str> {
        let (unit, at) = self.known.get(&client)?;
        (*at <= asked && asked < at.plus(KNOWN_FOR) && !unit.is_empty()).then_some(&**unit)
    }

    /// Remembers the unit of a query until its reply, however long its round takes.
    pub fn remember(&mut self, client: ClientSocket, name: &Name, unit: &Arc<str>, at: Monotonic) {
        self.waiting.add((client, name.to_lower().as_wire().into()), Arc::clone(unit), at);
    }

    /// The unit that was found when the query of a reply came.
    pub fn of_reply(
        &self,
        client: ClientSocket,
        name: &Name,
        took: Duration,
        now: Monotonic,
    ) -> Option<&str> {
        let (unit, at) = self.waiting.units.get(&(client, name.to_lower().as_wire().into()))?;
        // An older one is of an earlier query: the note of this one found no slot.
        (now.since(*at) < took + KNOWN_FOR && !unit.is_empty()).then_some(&**unit)
    }

    fn find(&mut self, client: ClientSocket, server: Option<SocketAddr>, now: Monotonic) -> Option<Arc<str>> {
        let (cgroups, diag) = (self.cgroups.as_mut()?, self.diag.as_mut().ok()?);
        let protocol = if client.is_tcp { Protocol::Tcp } else { Protocol::Udp };
        let owner = diag.owner(protocol, client.address, server?);
        cgroups.unit(group_of(owner, &mut self.problem)?, now)
    }

    /// Why units are not known at all.
    pub fn problem(&self) -> Option<String> {
        let no_cgroups = || "cgroup2 is not mounted here".to_owned();
        let without = self.cgroups.is_none().then(no_cgroups);
        self.diag.as_ref().err().cloned().or(without).or_else(|| self.problem.clone())
    }
}

/// The control group of an owner. Notes why the kernel does not say it, or that it does.
fn group_of(owner: io::Result<Owner>, problem: &mut Option<String>) -> Option<u64> {
    match owner {
        Ok(Owner::Cgroup(id)) => {
            *problem = None;
            return Some(id);
        }
        Ok(Owner::NoSocket) => {}
        Ok(Owner::NotSaid) => {
            *problem = Some("the kernel does not say the control groups of sockets".to_owned());
        }
        Err(error) => *problem = Some(format!("the kernel does not answer questions about sockets: {error}")),
    }
    None
}

/// A client and the name that it asked for.
type Query = (ClientSocket, Box<[u8]>);

/// The units of the latest queries that needed a round.
#[derive(Debug, Default)]
struct Waiting {
    units: HashMap<Query, (Arc<str>, Monotonic)>,
    /// The same queries, the oldest first.
    order: VecDeque<Query>,
}

impl Waiting {
    fn add(&mut self, query: Query, unit: Arc<str>, at: Monotonic) {
        if self.units.insert(query.clone(), (unit, at)).is_some() {
            return;
        }
        if self.order.len() >= WAITING_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.units.remove(&oldest);
        }
        self.order.push_back(query);
    }
}

/// A query, and the unit that asked it.
#[derive(Debug)]
struct Asked {
    name: Box<[u8]>,
    unit: Arc<str>,
    at: Monotonic,
}

/// The latest queries that needed a round.
#[derive(Debug, Default)]
pub(super) struct Askers(VecDeque<Asked>);

impl Askers {
    pub fn add(&mut self, name: &Name, unit: &Arc<str>, at: Monotonic) {
        if self.0.len() >= ASKED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Asked { name: name.as_wire().into(), unit: Arc::clone(unit), at });
    }

    /// The units that asked for a name, the latest first.
    pub fn of(&self, name: &Name, problem: Option<String>, now: Monotonic) -> AskedBy {
        let mut units: Vec<Asker> = Vec::new();
        for asked in self.0.iter().rev().filter(|asked| *asked.name == *name.as_wire()) {
            match units.iter_mut().find(|known| known.unit == *asked.unit) {
                Some(known) => known.queries += 1,
                None => units.push(Asker {
                    unit: asked.unit.to_string(),
                    ago_ms: now.since(asked.at).as_millis() as u64,
                    queries: 1,
                }),
            }
        }
        let is_known = units.iter().any(|asker| !asker.unit.is_empty());
        AskedBy { units, unknown: problem.filter(|_| !is_known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> ClientSocket {
        ClientSocket { address: SocketAddr::from(([192, 0, 2, 1], port)), is_tcp: false }
    }

    #[test]
    fn the_unit_of_a_socket_is_forgotten_before_another_program_can_have_its_port() {
        let (mut units, at) = (Units::new(), Monotonic::from_ms);
        units.known.insert(client(7), (Arc::from("a.service"), at(5000)));
        assert_eq!(units.known(client(7), at(5900)), Some("a.service"));
        assert_eq!(units.known(client(7), at(6000)), None, "too old");
        assert_eq!(units.known(client(7), at(4999)), None, "an earlier query, seen late");
        (units.second, units.lookups) = (7, LOOKUPS_PER_SECOND_MAX);
        assert_eq!(&*units.look_up(client(7), None, at(7000)), "", "too many look-ups");
        assert_eq!(units.known(client(7), at(5900)), None, "another program may have the port");
    }

    #[test]
    fn a_reply_has_the_unit_of_its_query_however_late_it_is() {
        let (mut units, at) = (Units::new(), Monotonic::from_ms);
        let names: [Name; 2] = ["Slow.test", "next.test"].map(|name| name.parse().expect("a name"));
        units.remember(client(7), &names[0], &Arc::from("a.service"), at(1000));
        units.remember(client(7), &names[1], &Arc::from("b.service"), at(3000));
        let of = |units: &Units, name: &Name, took, now| {
            units.of_reply(client(7), name, Duration::from_millis(took), at(now)).map(ToOwned::to_owned)
        };
        let slow = "slow.test".parse().expect("a name");
        assert_eq!(of(&units, &slow, 8000, 9000).as_deref(), Some("a.service"));
        assert_eq!(of(&units, &names[1], 6000, 9000).as_deref(), Some("b.service"));
        assert_eq!(of(&units, &names[1], 10, 9000), None, "of a later query, whose look-up is not known");
        units.remember(client(7), &names[1], &Arc::from(""), at(9000));
        assert_eq!(of(&units, &names[1], 10, 9010), None, "its look-up was refused");
        for n in 0..WAITING_MAX {
            units.remember(client(n as u16), &slow, &Arc::from("c.service"), at(9000));
        }
        assert_eq!((units.waiting.units.len(), units.waiting.order.len()), (WAITING_MAX, WAITING_MAX));
    }

    #[test]
    fn a_problem_of_the_kernel_is_over_once_it_says_a_group() {
        let mut problem = None;
        assert_eq!(group_of(Err(io::ErrorKind::OutOfMemory.into()), &mut problem), None);
        assert!(problem.is_some());
        assert_eq!(group_of(Ok(Owner::NoSocket), &mut problem), None);
        assert!(problem.is_some(), "that says nothing of the kernel");
        assert_eq!(group_of(Ok(Owner::Cgroup(3)), &mut problem), Some(3));
        assert_eq!(problem, None);
        assert_eq!(group_of(Ok(Owner::NotSaid), &mut problem), None);
        assert!(problem.is_some());
    }

    #[test]
    fn askers_of_a_name_are_counted_by_unit_the_latest_first() {
        let (mut all, name): (_, fn(&str) -> Name) =
            (Askers::default(), |text| text.parse().expect("a name"));
        let units: [Arc<str>; 3] = [Arc::from("a.service"), Arc::from("b.service"), Arc::from("")];
        for n in 0..2000_u64 {
            all.add(&name("other.test"), &units[0], Monotonic::from_ms(n));
        }
        for (ms, unit) in [(3000, 0), (4000, 1), (5000, 0)] {
            all.add(&name("www.test"), &units[unit], Monotonic::from_ms(ms));
        }
        assert_eq!(all.0.len(), ASKED_MAX);
        let said = all.of(&name("www.test"), Some("why".to_owned()), Monotonic::from_ms(6000));
        let known: Vec<_> = said.units.iter().map(|u| (u.unit.as_str(), u.ago_ms, u.queries)).collect();
        assert_eq!(known, [("a.service", 1000, 2), ("b.service", 2000, 1)]);
        assert_eq!(said.unknown, None);
        all.add(&name("far.test"), &units[2], Monotonic::from_ms(1));
        let far = all.of(&name("far.test"), Some("why".to_owned()), Monotonic::from_ms(1));
        assert_eq!((far.units.len(), far.unknown.as_deref()), (1, Some("why")));
    }
}
