//! Plays a script with the core, upstreams that respond as the script says, and a clock that advances from
//! event to event.

use super::language::{Act, Script, Upstream, What};
use super::messages::{response, shown};
use hither_rounds::{
    Action, Answer, AttemptId, ClientId, Failure, Input, Order, OrderResult, OrderedAddress, Question,
    Rounds, Routes, SenderId, Server, Settings, Transport, reply,
};
use hither_table::{
    Counter, Family, Geometry, Key, Memory, Monotonic, Negative, Rtt, Snapshot, State, Writer,
};
use hither_wire::codes::Rtype;
use hither_wire::compose::{Asked, QueryBits, query};
use hither_wire::name::Name;
use hither_wire::query::Query;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

const START: Monotonic = Monotonic::from_ms(1_000_000);

enum Arrival {
    Message(Vec<u8>),
    Failed(Failure),
    Transmitted,
}

struct Client {
    query: Vec<u8>,
    reply: Option<(Duration, String)>,
}

struct Stage<'s> {
    script: &'s Script,
    /// The current settings, which steps may change.
    settings: Settings,
    core: Rounds,
    now: Monotonic,
    arrivals: Vec<(Monotonic, AttemptId, Arrival)>,
    clients: Vec<(String, Client)>,
    asked: BTreeMap<(usize, bool, Name, u16), usize>,
    sent: Vec<usize>,
    open: BTreeSet<AttemptId>,
    orders: BTreeMap<String, (Name, u64)>,
    order_applied: Option<bool>,
    versions: BTreeMap<(Name, u16), u64>,
}

pub fn play(script: &Script) -> Result<(), String> {
    let mut stage = Stage::new(script);
    for step in &script.steps {
        stage.run_until(START.plus(step.at)).map_err(|error| format!("{}: {error}", step.line))?;
        stage.step(&step.what, step.at).map_err(|error| format!("{}: {error}", step.line))?;
    }
    Ok(())
}

/// The routes to the first `count` upstreams.
fn routes(script: &Script, count: usize) -> Routes {
    let server = |n: usize| {
        let plain = Server::plain(SocketAddr::from(([192, 0, 2, n as u8 + 1], 53)), 0);
        let of_its_own = script.encrypted.iter().find(|(own, _)| *own == n);
        of_its_own.map_or(plain, |(_, transport)| Server { transport: *transport, settings: 1, ..plain })
    };
    let is_usual = |n: &usize| script.names.iter().all(|(_, own)| own != n);
    Routes {
        usual: (0..count).filter(is_usual).map(server).collect(),
        names: script.names.iter().map(|(name, n)| (*name, vec![server(*n)])).collect(),
        ..Routes::default()
    }
}

/// Judges that a query to an encrypted upstream shows no more than it must: its transport, a padded length,
/// and none of the features against forgery that need random octets.
fn judge(server: Server, transport: Transport, octets: &[u8]) -> Result<(), String> {
    if !server.transport.is_encrypted() {
        return if transport.is_encrypted() { Err("a plain query is encrypted".to_owned()) } else { Ok(()) };
    }
    let read = Query::read(octets).map_err(|_| "the core sends an unreadable query")?;
    let options = read.edns().map(|edns| edns.options().map(|(code, _)| code).collect::<Vec<_>>());
    if transport != server.transport || !octets.len().is_multiple_of(128) || options != Some(vec![12]) {
        return Err(format!("over {transport:?}: {} octets, options {options:?}", octets.len()));
    }
    if read.qname() != read.name_lower().as_wire() {
        return Err("the letter case over an encrypted transport is not the question's".to_owned());
    }
    Ok(())
}

impl<'s> Stage<'s> {
    fn new(script: &'s Script) -> Self {
        let geometry = Geometry { entries: 64 };
        let writer =
            Writer::create(Memory::heap(geometry.words()), &geometry, [1, 2], 3, 10).expect("a table");
        let mut seed = 0x1234_u64;
        let random = Box::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let core = Rounds::new(script.settings.clone(), routes(script, script.upstreams), writer, random);
        Stage {
            script,
            settings: script.settings.clone(),
            core,
            now: START,
            arrivals: Vec::new(),
            clients: Vec::new(),
            asked: BTreeMap::new(),
            sent: vec![0; script.upstreams],
            open: BTreeSet::new(),
            orders: BTreeMap::new(),
            order_applied: None,
            versions: BTreeMap::new(),
        }
    }

    /// Delivers responses and timers up to `until`. At the same time, responses come before the timer.
    fn run_until(&mut self, until: Monotonic) -> Result<(), String> {
        loop {
            let arrival = (0..self.arrivals.len()).min_by_key(|n| (self.arrivals[*n].0, *n));
            let at = arrival.map(|n| self.arrivals[n].0);
            let timer = self.core.poll_timeout();
            match (at, timer) {
                (Some(at), timer) if at <= until && timer.is_none_or(|timer| at <= timer) => {
                    self.now = self.now.max(at);
                    let (_, attempt, what) = self.arrivals.remove(arrival.expect("it has a time"));
                    match what {
                        Arrival::Message(octets) => {
                            self.core.handle(self.now, Input::Message { attempt, octets: &octets })
                        }
                        Arrival::Failed(failure) => {
                            self.core.handle(self.now, Input::Failed { attempt, failure })
                        }
                        Arrival::Transmitted => self.core.handle(self.now, Input::Transmitted { attempt }),
                    }
                }
                (_, Some(timer)) if timer <= until => {
                    self.now = self.now.max(timer);
                    self.core.handle_timeout(self.now);
                }
                _ => break,
            }
            self.settle()?;
        }
        self.now = until;
        Ok(())
    }

    /// Executes the core's actions, and checks that no version has gone back.
    fn settle(&mut self) -> Result<(), String> {
        self.core.check_invariants();
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Send { attempt, upstream, server, transport, octets } => {
                    judge(server, transport, &octets)?;
                    self.open.insert(attempt);
                    self.send(attempt, upstream.0.into(), transport == Transport::Tcp, &octets)?;
                }
                Action::Close { attempt, .. } => drop(self.open.remove(&attempt)),
                Action::Reply { client, answer, .. } => self.reply(client, &answer)?,
                Action::OrderResult { result, .. } => {
                    self.order_applied = Some(matches!(result, OrderResult::Applied { .. }))
                }
                Action::Resend { .. } | Action::AskSite { .. } | Action::Note(_) => {}
            }
        }
        let names: Vec<(Name, u16)> = self.asked.keys().map(|(_, _, name, rtype)| (*name, *rtype)).collect();
        for (name, rtype) in names {
            let version = self.view(&name, Rtype(rtype)).map_or(0, |(version, ..)| version);
            let before = self.versions.entry((name, rtype)).or_default();
            if version != 0 && version < *before {
                return Err(format!("the version of {name} went back"));
            }
            *before = version.max(*before);
        }
        Ok(())
    }

    fn send(&mut self, attempt: AttemptId, upstream: usize, tcp: bool, octets: &[u8]) -> Result<(), String> {
        let read = Query::read(octets).map_err(|_| "the core sends an unreadable query")?;
        let key = (upstream, tcp, read.name_lower(), read.qtype().0);
        let nth = self.asked.entry(key).or_default();
        *nth += 1;
        if !tcp {
            self.sent[upstream] += 1;
        }
        let fits = |line: &&Upstream| {
            line.upstream == upstream
                && line.tcp == tcp
                && line.name == key.2
                && line.rtype.0 == key.3
                && line.from <= *nth
        };
        let found = self.script.responses.iter().filter(fits).max_by_key(|line| line.from);
        let Some(line) = found else {
            let failure = if tcp { Arrival::Failed(Failure::Refused) } else { return Ok(()) };
            self.arrivals.push((self.now, attempt, failure));
            return Ok(());
        };
        for (after, act) in &line.acts {
            let arrival = match act {
                Act::Refused => Arrival::Failed(Failure::Refused),
                Act::Unreachable => Arrival::Failed(Failure::Unreachable),
                Act::NoSocket => Arrival::Failed(Failure::NoSocket),
                Act::Closed => Arrival::Failed(Failure::Closed),
                Act::Handshake => Arrival::Failed(Failure::Handshake),
                Act::Backoff => Arrival::Failed(Failure::Backoff),
                Act::Transmitted => Arrival::Transmitted,
                act => Arrival::Message(response(act, octets)),
            };
            self.arrivals.push((self.now.plus(*after), attempt, arrival));
        }
        Ok(())
    }

    fn reply(&mut self, client: ClientId, answer: &Answer) -> Result<(), String> {
        let at = self.since();
        let (name, client) = &mut self.clients[client.0 as usize];
        let read = Query::read(&client.query).expect("an own query");
        let mut out = vec![0; 65_535];
        let len = reply::compose(self.now, &read, answer, read.udp_limit(), &mut out);
        if client.reply.replace((at, shown(&out[..len], &client.query)?)).is_some() {
            return Err(format!("{name} gets two replies"));
        }
        Ok(())
    }

    fn since(&self) -> Duration {
        self.now.since(START)
    }

    fn step(&mut self, what: &What, at: Duration) -> Result<(), String> {
        match what {
            What::Asks { client, name, rtype, dnssec, edns } => {
                self.asks(client, name, *rtype, (*dnssec, *edns))?
            }
            What::Gets { client, reply } => {
                let (when, got) =
                    self.client(client)?.reply.clone().ok_or(format!("{client} has no reply"))?;
                if got != *reply {
                    return Err(format!("{client} got {got}"));
                }
                if when != at {
                    return Err(format!("{client} got its reply at {}ms", when.as_millis()));
                }
            }
            What::Waits { client } if self.client(client)?.reply.is_some() => {
                return Err(format!("{client} has a reply"));
            }
            What::Waits { .. } => {}
            What::Leaves { client } => {
                let at = self.clients.iter().position(|(name, _)| name == client).ok_or("no such client")?;
                self.core.handle(self.now, Input::ClientGone { client: ClientId(at as u64) });
            }
            What::Table { name, rtype, expected } => {
                let found = self.view(name, *rtype).map_or("none".to_owned(), |(_, text)| text);
                if found != *expected {
                    return Err(format!("the table has {name} {rtype} {found}"));
                }
            }
            What::Sent { upstream, count } if self.sent[*upstream] != *count => {
                return Err(format!("{} queries were sent", self.sent[*upstream]));
            }
            What::Sent { .. } => {}
            What::Counter { name, value } => {
                let counter =
                    Counter::ALL.iter().find(|c| c.name() == name).ok_or(format!("no counter {name}"))?;
                let is = self.core.counters().get(*counter);
                if is != *value {
                    return Err(format!("{name} is {is}"));
                }
            }
            What::Flush { names } => {
                let names = (!names.is_empty()).then(|| names.clone());
                self.core.handle(self.now, Input::Flush { names });
            }
            What::Reload { upstreams } => {
                let (settings, routes) = (self.settings.clone(), routes(self.script, *upstreams));
                self.core.handle(self.now, Input::Reload { settings, routes });
            }
            What::Allow { name } => self.allow(*name),
            What::Network => self.core.handle(self.now, Input::NetworkChanged),
            What::Remember { name, label } => {
                let mut snapshot = Snapshot::new();
                let hit = self.core.reader().lookup(&Key::of(name), &mut snapshot).is_ok();
                let view = hit.then(|| snapshot.family(Family::A)).flatten().ok_or("no such set")?;
                self.orders.insert(label.clone(), (*name, view.set_version()));
            }
            What::Orders { label, addresses, applied } => self.order(label, addresses, *applied)?,
            What::NothingLeft => {
                if !self.open.is_empty() || self.core.poll_timeout().is_some() {
                    return Err(format!(
                        "{} sockets and timer {:?} are left",
                        self.open.len(),
                        self.core.poll_timeout()
                    ));
                }
            }
        }
        self.settle()
    }

    fn allow(&mut self, name: Name) {
        self.settings.rebinding.allow.insert(name);
        let (settings, routes) = (self.settings.clone(), self.core.routes().clone());
        self.core.handle(self.now, Input::Reload { settings, routes });
    }

    fn order(&mut self, label: &str, addresses: &[std::net::IpAddr], applied: bool) -> Result<(), String> {
        let (name, set_version) = *self.orders.get(label).ok_or(format!("no set was taken as {label}"))?;
        let order = Order {
            generation: self.core.reader().generation(),
            name,
            family: Family::A,
            set_version,
            addresses: addresses
                .iter()
                .zip(1..)
                .map(|(address, n)| OrderedAddress::measured(*address, Rtt::Micros(n * 1000)))
                .collect(),
        };
        self.core.handle(self.now, Input::Order { sender: SenderId(0), order });
        self.settle()?;
        match self.order_applied.take() {
            Some(is) if is == applied => Ok(()),
            is => Err(format!("the order was applied: {is:?}")),
        }
    }

    fn asks(
        &mut self,
        client: &str,
        name: &Name,
        rtype: Rtype,
        ((dnssec, cd), edns): ((bool, bool), Option<u16>),
    ) -> Result<(), String> {
        let mut octets = [0; 300];
        let bits = QueryBits { rd: true, cd, edns: edns.map(|size| (size, dnssec)) };
        let len = query(&mut octets, 7, &Asked { name, rtype }, bits);
        let query = octets[..len].to_vec();
        let id = ClientId(self.clients.len() as u64);
        self.clients.push((client.to_owned(), Client { query: query.clone(), reply: None }));
        let read = Query::read(&query).map_err(|_| "that cannot be asked")?;
        let mut out = vec![0; 65_535];
        let hit = self.core.answer_hit(self.now, &read, read.udp_limit(), &mut out);
        if hit > 0 {
            let text = shown(&out[..hit], &query)?;
            self.clients[id.0 as usize].1.reply = Some((self.since(), text));
        } else {
            let question =
                Question { name: name.to_lower(), rtype, dnssec_ok: dnssec, checking_disabled: cd };
            self.core.handle(self.now, Input::Ask { client: id, question: &question, recursion: true });
            self.settle()?;
        }
        while let Some(question) = self.core.next_expiring() {
            self.core.handle(self.now, Input::Refresh { question });
            self.settle()?;
        }
        Ok(())
    }

    fn client(&self, name: &str) -> Result<&Client, String> {
        let found = self.clients.iter().rev().find(|(own, _)| own == name);
        found.map(|(_, client)| client).ok_or(format!("{name} has asked nothing"))
    }

    /// The set of a name in the table: its version, and its text in the words of scenarios.
    fn view(&self, name: &Name, rtype: Rtype) -> Option<(u64, String)> {
        let family = if rtype == Rtype::AAAA { Family::Aaaa } else { Family::A };
        let mut snapshot = Snapshot::new();
        if self.core.reader().lookup(&Key::of(&name.to_lower()), &mut snapshot).is_err() {
            return None;
        }
        let view = snapshot.family(family)?;
        let mut text = match view.state() {
            State::First => "first",
            State::Partial => "partial",
            State::Complete => "complete",
        }
        .to_owned();
        match view.negative() {
            Some(Negative::NxDomain) => text += " nxdomain",
            Some(Negative::NoData | Negative::Withheld) => text += " nodata",
            None => {}
        }
        if view.sorted() {
            text += " sorted";
        }
        if view.expired(self.now) {
            text += " expired";
        }
        view.addresses().for_each(|a| text += &format!(" {}", a.address));
        Some((view.version(), text))
    }
}
