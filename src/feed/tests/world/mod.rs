//! The world around the feed: a table, upstreams, sockets that become full, and subscribers that note what
//! they are told.

use hither_feed::server::{Feed, Limits, Owner, Seen, SubscriberId};
use hither_feed::{Cause, Datagram, Families, RECORD_MAX, Record};
use hither_table::{Family, Monotonic};
use hither_wire::name::Name;
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub fn message(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// Random numbers from a seed (xorshift64*).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// What the table says of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Said {
    Nothing,
    Denied { version: u64, until: Monotonic },
    Set { version: u64, set_version: u64, addresses: Vec<u8>, until: Monotonic },
    Local(u64),
}

/// What a subscriber believes of one family: the addresses in their order, or that there are none.
type Belief = Option<Vec<u8>>;

/// A subscriber, with its socket.
struct Program {
    id: SubscriberId,
    uid: u32,
    is_stopped: bool,
    /// Records in the socket, and how many fit.
    socket: VecDeque<Vec<u8>>,
    capacity: usize,
    /// Names of datagrams that have no answer yet.
    asked: VecDeque<Vec<(usize, Families)>>,
    believes: BTreeMap<(usize, Family), Belief>,
    /// Changes of a name since its last record that the socket took, or since a gap.
    untold: BTreeMap<(usize, Family), u32>,
    gaps: u32,
}

pub struct World {
    pub feed: Feed,
    pub changes: u64,
    now: Monotonic,
    version: u64,
    names: Vec<Name>,
    table: Vec<[Said; 2]>,
    /// What was published last, whether the table has it still or not; `None` after changes that the feed
    /// did not see.
    shown: Vec<[Option<Belief>; 2]>,
    /// The addresses of each version that was published.
    history: BTreeMap<u64, Vec<u8>>,
    programs: Vec<Program>,
    begun: BTreeMap<Owner, usize>,
    fails: bool,
}

const FAMILIES: [Family; 2] = [Family::A, Family::Aaaa];
const TTL: Duration = Duration::from_secs(30);

fn hash(addresses: &[u8]) -> (u64, u32) {
    let one = |a: &u8| u64::from(*a + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(u32::from(*a));
    let set = addresses.iter().fold(1u64, |sum, a| sum.wrapping_add(one(a)));
    let order = addresses.iter().fold(7u32, |sum, a| sum.wrapping_mul(31).wrapping_add(u32::from(*a)));
    (set, order)
}

impl Said {
    fn seen(&self, now: Monotonic) -> Seen {
        match self {
            Said::Denied { version, until } if now < *until => {
                Seen::Denied { version: *version, renew: *until }
            }
            Said::Set { version, set_version, addresses, until } => {
                let (set, order) = hash(addresses);
                let renew = Monotonic(until.0 - TTL.as_nanos() as u64 / 5);
                Seen::Set { version: *version, set_version: *set_version, addresses: set, order, renew }
            }
            Said::Local(answer) => Seen::Local { answer: *answer },
            Said::Nothing | Said::Denied { .. } => Seen::Nothing,
        }
    }

    fn belief(&self) -> Belief {
        match self {
            Said::Set { addresses, .. } => Some(addresses.clone()),
            _ => None,
        }
    }
}

impl World {
    pub fn new(seed: u64, names: usize) -> World {
        let names: Vec<Name> =
            (0..names).map(|n| format!("host-{n}.sim.example").parse().expect("a name")).collect();
        World {
            feed: Feed::new(Limits::default(), [seed, !seed]),
            changes: 0,
            now: Monotonic::from_ms(1_000_000),
            version: 100,
            table: vec![[Said::Nothing, Said::Nothing]; names.len()],
            shown: vec![[None, None]; names.len()],
            names,
            history: BTreeMap::new(),
            programs: Vec::new(),
            begun: BTreeMap::new(),
            fails: false,
        }
    }

    fn find(names: &[Name], name: &[u8]) -> usize {
        let text = names[0].as_wire();
        // Label "host-N": its number is cheaper to read than to look up.
        let label = &name[1..1 + usize::from(name[0])];
        assert!(text.starts_with(&[6]) && label.starts_with(b"host-"));
        std::str::from_utf8(&label[5..]).expect("digits").parse().expect("a number")
    }

    /// Publishes what a family is now, and reports it.
    fn put(&mut self, name: usize, family: Family, said: Said) {
        self.changes += 1;
        if let Said::Set { version, addresses, .. } = &said {
            self.history.insert(*version, addresses.clone());
        }
        let is_new = self.shown[name][family as usize].as_ref().is_some_and(|shown| *shown != said.belief());
        self.shown[name][family as usize] = Some(said.belief());
        self.table[name][family as usize] = said;
        if is_new {
            for program in &mut self.programs {
                if program.believes.contains_key(&(name, family)) {
                    *program.untold.entry((name, family)).or_default() += 1;
                }
            }
        }
        self.note(name);
    }

    fn note(&mut self, name: usize) {
        let (now, seen) = (self.now, self.table[name].clone());
        self.feed.note(now, self.names[name].as_wire(), |_| seen.map(|said| said.seen(now)));
    }

    fn any(&self, draw: &mut Draw) -> (usize, Family) {
        (draw.below(self.names.len() as u64) as usize, FAMILIES[draw.below(2) as usize])
    }

    fn next_version(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn is_local(&self, name: usize) -> bool {
        matches!(self.table[name], [Said::Local(_), _] | [_, Said::Local(_)])
    }

    pub fn publish(&mut self, draw: &mut Draw) {
        let (name, family) = self.any(draw);
        let first = draw.below(6) as u8;
        let addresses = (0..=draw.below(3) as u8).map(|n| first + n).collect();
        self.publish_at(name, family, addresses);
    }

    fn publish_at(&mut self, name: usize, family: Family, addresses: Vec<u8>) {
        if self.is_local(name) {
            return;
        }
        let version = self.next_version();
        let sorted = |all: &[u8]| {
            let mut all = all.to_vec();
            all.sort_unstable();
            all
        };
        let set_version = match &self.table[name][family as usize] {
            Said::Set { set_version, addresses: before, .. } if sorted(before) == sorted(&addresses) => {
                *set_version
            }
            _ => version,
        };
        let until = self.now.plus(TTL);
        self.put(name, family, Said::Set { version, set_version, addresses, until });
    }

    pub fn reorder(&mut self, draw: &mut Draw) {
        let (name, family) = self.any(draw);
        if let Said::Set { set_version, mut addresses, until, .. } = self.table[name][family as usize].clone()
        {
            addresses.rotate_left(1);
            let version = self.next_version();
            self.put(name, family, Said::Set { version, set_version, addresses, until });
        }
    }

    pub fn deny(&mut self, draw: &mut Draw) {
        let (name, family) = self.any(draw);
        self.deny_at(name, family);
    }

    fn deny_at(&mut self, name: usize, family: Family) {
        if !self.is_local(name) {
            let version = self.next_version();
            let until = self.now.plus(TTL);
            self.put(name, family, Said::Denied { version, until });
        }
    }

    /// Forgets which changes of a name were not told: those that follow are not noted one by one.
    fn lose_count(&mut self, name: usize) {
        for program in &mut self.programs {
            program.untold.retain(|(known, _), _| *known != name);
        }
    }

    /// The table gives up a name, and says only that something has gone.
    pub fn evict(&mut self, draw: &mut Draw) {
        let (name, _) = self.any(draw);
        if !self.is_local(name) {
            self.table[name] = [Said::Nothing, Said::Nothing];
            self.lose_count(name);
        }
        self.feed.look_again(self.now, false);
    }

    pub fn flush(&mut self) {
        self.table.iter_mut().for_each(|said| *said = [Said::Nothing, Said::Nothing]);
        self.programs.iter_mut().for_each(|program| program.untold.clear());
        self.feed.look_again(self.now, false);
    }

    pub fn answer_locally(&mut self, draw: &mut Draw) {
        let (name, _) = self.any(draw);
        let is_local = self.is_local(name) && draw.below(2) == 0;
        let said = if is_local { Said::Nothing } else { Said::Local(draw.below(3)) };
        self.table[name] = [said.clone(), said];
        self.lose_count(name);
        self.feed.look_again(self.now, true);
    }

    /// Changes that the feed does not see one by one.
    pub fn miss_changes(&mut self, draw: &mut Draw) {
        for _ in 0..5 {
            let (name, family) = self.any(draw);
            if !self.is_local(name) {
                let version = self.next_version();
                let addresses = vec![draw.below(9) as u8];
                self.history.insert(version, addresses.clone());
                self.shown[name][family as usize] = None;
                let until = self.now.plus(TTL);
                self.table[name][family as usize] =
                    Said::Set { version, set_version: version, addresses, until };
                self.lose_count(name);
            }
        }
        self.feed.look_again(self.now, true);
    }

    pub fn connect(&mut self, draw: &mut Draw) {
        let before = self.programs.len();
        self.connect_as(1000 + draw.below(3) as u32);
        if let Some(program) = self.programs.get_mut(before) {
            program.capacity = 1 + draw.below(8) as usize;
        }
    }

    pub fn connect_as(&mut self, uid: u32) {
        if let Ok(id) = self.feed.connect(Owner::of(uid, 1)) {
            self.programs.push(Program {
                id,
                uid,
                is_stopped: false,
                socket: VecDeque::new(),
                capacity: 1000,
                asked: VecDeque::new(),
                believes: BTreeMap::new(),
                untold: BTreeMap::new(),
                gaps: 0,
            });
        }
    }

    pub fn subscribe(&mut self, draw: &mut Draw) {
        if !self.programs.is_empty() {
            let at = draw.below(self.programs.len() as u64) as usize;
            self.subscribe_at(at, draw);
        }
    }

    pub fn subscribe_latest(&mut self, draw: &mut Draw) {
        if let Some(at) = self.programs.len().checked_sub(1) {
            self.subscribe_at(at, draw);
            self.deliver();
            self.read(at, usize::MAX);
        }
    }

    fn subscribe_at(&mut self, at: usize, draw: &mut Draw) {
        let (name, _) = self.any(draw);
        let families = [Families::A, Families::Aaaa, Families::Both][draw.below(3) as usize];
        let last = (name + 1 + draw.below(5) as usize).min(self.names.len());
        self.subscribe_with(at, (name..last).map(|name| (name, families)).collect());
    }

    pub fn subscribe_to(&mut self, names: std::ops::Range<usize>) {
        let at = self.programs.len() - 1;
        for name in names {
            self.subscribe_with(at, vec![(name, Families::Both)]);
            self.deliver();
            self.read(at, usize::MAX);
        }
    }

    fn subscribe_with(&mut self, at: usize, names: Vec<(usize, Families)>) {
        let id = self.programs[at].id;
        while !self.feed.may_read(id) {
            if self.feed.has_work(self.now) {
                self.work();
            } else {
                return;
            }
        }
        let mut datagram = Datagram::new();
        for (name, families) in &names {
            datagram.add(*families, &self.names[*name]).expect("it fits");
        }
        let (now, table, all) = (self.now, &self.table, &self.names);
        let mut look =
            |name: &Name| table[Self::find(all, name.as_wire())].clone().map(|said| said.seen(now));
        self.feed.subscribe(now, id, datagram.octets(), self.version, &mut look);
        // The program reads the table when it has the answer. What it reads is at least as new as this.
        self.programs[at].asked.push_back(names);
    }

    pub fn kill(&mut self, draw: &mut Draw) {
        if !self.programs.is_empty() {
            let at = draw.below(self.programs.len() as u64) as usize;
            let gone = self.programs.remove(at);
            self.feed.disconnect(gone.id);
        }
    }

    pub fn stop_or_go_on(&mut self, draw: &mut Draw) {
        if !self.programs.is_empty() {
            let at = draw.below(self.programs.len() as u64) as usize;
            self.programs[at].is_stopped ^= true;
        }
    }

    pub fn limit(&mut self, draw: &mut Draw) {
        let names_per_user = 5 + draw.below(200) as usize;
        let rounds_per_user = 1 + draw.below(50) as u32;
        let limits = Limits { names_per_user, rounds_per_user, names: 300, ..Limits::default() };
        self.feed.set_limits(Limits { subscribers: 12, subscribers_per_user: 6, ..limits });
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(Duration::from_millis(ms));
    }

    pub fn fails_all(&mut self) {
        self.fails = true;
    }

    pub fn begun_by(&self, uid: u32) -> usize {
        self.begun.get(&Owner::of(uid, 1)).copied().unwrap_or(0)
    }

    fn work(&mut self) -> bool {
        let (now, table, all) = (self.now, &self.table, &self.names);
        let mut look =
            |name: &Name| table[Self::find(all, name.as_wire())].clone().map(|said| said.seen(now));
        self.feed.work(now, 7, &mut look)
    }

    /// Begins all rounds that the feed wants. Each succeeds, brings a denial, or fails.
    pub fn drain_asks(&mut self) {
        let mut draw = Draw::new(self.version);
        loop {
            let (now, table, all) = (self.now, &self.table, &self.names);
            let mut look =
                |name: &Name| table[Self::find(all, name.as_wire())].clone().map(|said| said.seen(now));
            let Some(ask) = self.feed.next_ask(now, &mut look) else {
                if self.feed.has_asks(now) {
                    continue;
                }
                return;
            };
            self.feed.note_begun(&ask);
            *self.begun.entry(ask.owner).or_default() += 1;
            let name = Self::find(&self.names, ask.name.as_wire());
            match draw.below(8) {
                _ if self.fails => {}
                0 => {}
                1 => self.deny_at(name, ask.family),
                2..5 => self.publish_at(name, ask.family, vec![draw.below(4) as u8]),
                _ => match self.table[name][ask.family as usize].belief() {
                    Some(addresses) => self.publish_at(name, ask.family, addresses),
                    None => self.deny_at(name, ask.family),
                },
            }
        }
    }

    /// One turn of the daemon, and of the programs that read.
    pub fn turn(&mut self, draw: &mut Draw) {
        self.work();
        self.drain_asks();
        self.deliver();
        for at in 0..self.programs.len() {
            if !self.programs[at].is_stopped {
                let some = draw.below(6) as usize;
                self.read(at, some);
            }
        }
    }

    fn deliver(&mut self) {
        let mut out = [0; RECORD_MAX];
        while let Some((id, octets)) = self.feed.next_record(self.version, &mut out) {
            let program = self.programs.iter_mut().find(|program| program.id == id).expect("it lives");
            if program.socket.len() >= program.capacity {
                self.feed.note_full();
            } else {
                match Record::read(octets).expect("a record") {
                    Record::Gap { .. } => program.untold.clear(),
                    Record::Change(change) => {
                        let key = (Self::find(&self.names, change.name), change.family);
                        let untold = program.untold.remove(&key).unwrap_or(0);
                        assert!(untold <= 1 || change.coalesced, "{untold} changes of {key:?}");
                    }
                    _ => {}
                }
                program.socket.push_back(octets.to_vec());
                self.feed.note_sent();
            }
        }
    }

    fn read(&mut self, at: usize, some: usize) {
        let World { programs, table, names, history, feed, .. } = self;
        let program = &mut programs[at];
        let was_full = program.socket.len() >= program.capacity;
        for octets in program.socket.drain(..some.min(program.socket.len())) {
            match Record::read(&octets).expect("a record") {
                Record::Gap { .. } => {
                    program.gaps += 1;
                }
                Record::Refused { .. } => drop(program.asked.pop_front().expect("it was asked")),
                Record::Accepted { .. } => {
                    for (name, families) in program.asked.pop_front().expect("it was asked") {
                        for family in FAMILIES.into_iter().filter(|family| families.includes(*family)) {
                            let said = &table[name][family as usize];
                            let belief = said.belief();
                            program.believes.entry((name, family)).or_insert(belief);
                        }
                    }
                }
                Record::Change(change) => {
                    let name = Self::find(names, change.name);
                    let belief = match change.cause {
                        Cause::NewSet | Cause::Order => {
                            Some(history.get(&change.version).expect("a published version").clone())
                        }
                        _ => None,
                    };
                    let key = (name, change.family);
                    if let Some(known) = program.believes.get_mut(&key) {
                        *known = belief;
                    }
                }
            }
        }
        if was_full && program.socket.len() < program.capacity {
            feed.note_writable(program.id);
        }
    }

    /// Lets everybody read to the end and every round end.
    pub fn settle(&mut self) {
        self.programs.iter_mut().for_each(|program| program.is_stopped = false);
        // With one round a second, a name that went missing may wait for minutes.
        self.feed.set_limits(Limits::default());
        for _ in 0..200 {
            self.pass(2_000);
            for _ in 0..400 {
                let more = self.work();
                self.drain_asks();
                self.deliver();
                (0..self.programs.len()).for_each(|at| self.read(at, usize::MAX));
                if !more && !self.feed.has_records() {
                    break;
                }
            }
        }
    }

    /// Every subscriber knows what the table says of each of its names.
    pub fn judge(&self) {
        for program in &self.programs {
            assert!(program.socket.is_empty() && program.asked.is_empty(), "{}", program.uid);
            for ((name, family), belief) in &program.believes {
                let said = &self.table[*name][*family as usize];
                let gaps = program.gaps;
                assert_eq!(*belief, said.belief(), "{family:?} of {name}, {said:?}, after {gaps} gaps");
            }
        }
    }
}
