//! An attacker that owns the engine but has no key: it keeps, repeats, delays, reorders, exchanges and
//! changes all that hosts write, and makes up values of its own.
//!
//! The truth about each name is a number that grows; hosts learn it and write it into an address. What a
//! receiver accepts must be such a truth about the name that it is said to be about, not older than one that
//! was accepted before, and must not outlive it.

use crate::{WALL_MS, addresses, name, seal_of};
use hither_entries::{
    Arrival, Clocks, Content, Entry, Judge, Judgement, MARGIN_MS, Seal, Times, VALUE_MAX, decode_message,
    encode_message,
};
use hither_table::{Address, Family};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const SECRET: &str = "what the attacker lacks";
const NAMES: u64 = 12;
/// The hosts, and by how much their clocks are ahead of the receiver's, in milliseconds.
const HOSTS: [(&str, i64); 5] =
    [("alpha", 0), ("beta", 400), ("gamma", -700), ("delta", -25_000), ("epsilon", 9_000)];
const STEPS: u64 = 3_000;

/// Random numbers from a seed (splitmix64).
struct Picks(u64);

impl Picks {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// What was true when a host learned it.
#[derive(Clone, Copy)]
struct Truth {
    name: u64,
    /// By how much its host's clock is ahead beyond the margin.
    ahead_ms: u64,
    asked_ms: u64,
    learned_ms: u64,
    end_ms: u64,
}

/// All that the attacker has seen, and what is true.
struct World {
    picks: Picks,
    now_ms: u64,
    truths: Vec<Truth>,
    written: Vec<(String, Vec<u8>)>,
}

impl World {
    /// A host learns the newest truth about a name, and writes it.
    fn learn(&mut self, seal: &Seal) {
        let (host, ahead_ms) = *self.picks.one(&HOSTS);
        let about = self.picks.below(NAMES);
        let asked_ms = self.now_ms;
        self.now_ms += 1 + self.picks.below(50);
        let left_ms = 5_000 + self.picks.below(60_000);
        let number = u32::try_from(self.truths.len()).expect("few");
        let end_ms = self.now_ms + left_ms;
        let beyond_ms = u64::try_from(ahead_ms).unwrap_or(0).saturating_sub(u64::from(MARGIN_MS));
        self.truths.push(Truth {
            name: about,
            ahead_ms: beyond_ms,
            asked_ms,
            learned_ms: self.now_ms,
            end_ms,
        });
        let by_its_clock = |ms: u64| (WALL_MS + ms).checked_add_signed(ahead_ms).expect("a time");
        let entry = Entry {
            host: host.into(),
            times: Times {
                asked_ms: by_its_clock(asked_ms),
                learned_ms: by_its_clock(self.now_ms),
                left_ms: left_ms as u32,
                lifetime_s: left_ms.div_ceil(1000) as u32,
            },
            name: name(&format!("h{about}.example")),
            chains: vec![Vec::new()],
            content: Content::Addresses(vec![Address::new(Ipv4Addr::from(number).into(), 0, 1)]),
            ..addresses()
        };
        self.written.push(seal.seal(&entry).expect("an entry"));
    }

    /// A key and a value as the attacker likes them.
    fn attack(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (key, value) = self.picks.one(&self.written).clone();
        let (mut key, mut value) = (key.into_bytes(), value);
        match self.picks.below(12) {
            // As they are, often: repeated, late, in any order.
            0..=4 => {}
            5 => key = self.picks.one(&self.written).0.clone().into_bytes(),
            6 => {
                let bit = self.picks.below(value.len() as u64 * 8) as usize;
                value[bit / 8] ^= 1 << (bit % 8);
            }
            7 => value.truncate(self.picks.below(value.len() as u64) as usize),
            8 => value.extend(vec![0; self.picks.below(2 * VALUE_MAX as u64) as usize + 1]),
            // The end of one and the beginning of another.
            9 => {
                let other = self.picks.one(&self.written).1.clone();
                let at = self.picks.below(value.len() as u64) as usize;
                value = [&value[..at], other.get(at..).unwrap_or_default()].concat();
            }
            // Made up: no signature, or that of another secret, or of another site with the same secret.
            10 => {
                let seals = [
                    seal_of("site", None),
                    seal_of("site", Some("some other secret")),
                    seal_of("other", Some(SECRET)),
                ];
                let (_, made) = self.picks.one(&seals).seal(&addresses()).expect("an entry");
                (key, value) = (b"{site}:a:www.example.".to_vec(), made);
            }
            // No longer signed: cut off, and marked so.
            _ => {
                value[4] = 0;
                value.truncate(value.len() - 32);
            }
        }
        (key, value)
    }

    /// The truth that an accepted entry is; panics if it is none.
    fn truth_of(&self, entry: &Entry) -> (usize, Truth) {
        let Content::Addresses(addresses) = &entry.content else { panic!("no host denies") };
        let [Address { address: IpAddr::V4(address), .. }] = addresses[..] else {
            panic!("one IPv4 address")
        };
        let number = u32::from(address) as usize;
        let truth = *self.truths.get(number).expect("a host has written it");
        assert_eq!((entry.name, entry.family), (name(&format!("h{}.example", truth.name)), Family::A));
        (number, truth)
    }
}

fn attack(seed: u64) -> (usize, usize) {
    let seal = seal_of("site", Some(SECRET));
    let mut judge = Judge::new("omega", "", [seed, !seed]);
    let mut world = World { picks: Picks(seed), now_ms: 0, truths: Vec::new(), written: Vec::new() };
    let (mut seen, mut published) = (BTreeMap::new(), BTreeMap::<u64, (u64, usize)>::new());
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..STEPS {
        if world.written.is_empty() || world.picks.below(4) == 0 {
            world.learn(&seal);
        }
        world.now_ms += world.picks.below(300);
        let (key, value) = world.attack();
        let arrival = match world.picks.below(3) {
            0 => Arrival::Published,
            1 => Arrival::Kept { left_ms: None },
            _ => Arrival::Kept { left_ms: Some(world.picks.below(100_000)) },
        };
        let message = encode_message(std::str::from_utf8(&key).expect("a key"), &value);
        let opened = decode_message(&message).and_then(|(key, value)| seal.open(key, value));
        let now = Clocks { wall_ms: WALL_MS + world.now_ms, boot_ms: world.now_ms };
        let judgement = opened.map(|entry| judge.judge(entry, arrival, now));
        let Ok(Judgement::New(judged) | Judgement::Known(judged)) = judgement else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let (number, truth) = world.truth_of(&judged.entry);
        // Only a clock that is ahead can help an engine that delays, and by no more than that.
        let end_ms = truth.end_ms + truth.ahead_ms;
        assert!(judged.expire_ms > world.now_ms && judged.expire_ms <= end_ms, "seed {seed}: it outlives");
        let asked_ms = truth.asked_ms.max(1) + truth.ahead_ms;
        assert!(judged.asked.as_ms() <= asked_ms, "seed {seed}: it looks newer");
        assert!(judged.learned.as_ms() >= truth.learned_ms, "seed {seed}: what replaces it may be older");
        let learned_ms = judged.entry.times.learned_ms;
        let before_ms = seen.entry(truth.name).or_insert(learned_ms);
        assert!(learned_ms >= *before_ms, "seed {seed}: it is older than one before");
        *before_ms = learned_ms;
        // As the core publishes: only what was asked for after the last set was learned.
        let (known_at, last) = published.entry(truth.name).or_default();
        if truth.ahead_ms == 0 && judged.asked.as_ms() > *known_at {
            assert!(number >= *last, "seed {seed}: an older answer replaces a newer one");
            (*known_at, *last) = (judged.learned.as_ms(), number);
        }
    }
    (accepted, refused)
}

#[test]
fn an_attacker_without_the_key_gets_nothing_older_foreign_or_longer_lived_through() {
    for seed in 0..24 {
        let (accepted, refused) = attack(seed);
        assert!(accepted > 100 && refused > 1_000, "seed {seed}: {accepted} accepted, {refused} refused");
    }
}
