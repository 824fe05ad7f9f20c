//! Both families of a name by measurement, as programs get them: the order over both, a family that is
//! withheld, address hints, and reloads that change these. The test sends the orders of a sorter.

use crate::support::{Daemon, Upstream, ask_for, compile, compose, directory};
use crate::{command, has, text};
use hither_client::{FamilyOrder, Name, Snapshot, Table, Wanted};
use hither_control::{
    Order, OrderedAddress, SORTER_SOCKET, SorterMessage, SorterReply, VERSION, Verdict, decode, encode,
};
use hither_net::seqpacket::Connection;
use hither_wire::codes::{Rcode, Rtype};
use hither_wire::compose::{Asked, Owner, QueryBits, query};
use hither_wire::message::{Message, Section};
use hither_wire::query::Query;
use std::net::IpAddr;
use std::time::Duration;

const NAME: &str = "both.example";
const V4: [&str; 2] = ["198.18.0.1", "198.18.0.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

fn octets(address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The data of an HTTPS record for its owner: ALPN, and hints.
fn https(v4: [&str; 2], v6: [&str; 2]) -> Vec<u8> {
    let param = |key: u8, value: Vec<u8>| [vec![0, key, 0, value.len() as u8], value].concat();
    let hints = |all: [&str; 2]| all.map(octets).concat();
    [vec![0, 1, 0], param(1, b"\x02h2".to_vec()), param(4, hints(v4)), param(5, vec![9]), param(6, hints(v6))]
        .concat()
}

fn upstream() -> Upstream {
    Upstream::start(|query, _| {
        let read = Query::read(query).expect("the daemon's own");
        let data = match read.qtype() {
            Rtype::A => V4.map(octets).to_vec(),
            Rtype::AAAA => V6.map(octets).to_vec(),
            Rtype::HTTPS => vec![https(V4, V6)],
            _ => vec![],
        };
        let reply = compose(query, Rcode::NOERROR, 0, |composer| {
            for rdata in &data {
                assert!(composer.record(Section::Answer, Owner::At(12), read.qtype(), 300, rdata));
            }
        });
        vec![(0, reply)]
    })
}

/// A daemon with its upstream, and a sorter that is connected to it.
struct World {
    daemon: Daemon,
    upstream: Upstream,
    sorter: Connection,
}

impl World {
    fn new(sort: &str) -> World {
        let upstream = upstream();
        let daemon = Daemon::start_in(directory(), &[&upstream], &format!("[sort]\n{sort}"));
        for rtype in [Rtype::A, Rtype::AAAA, Rtype::HTTPS] {
            daemon.exchange(&ask_for(NAME, rtype, Some(1232), 7));
        }
        let path = daemon.dir.join("run").join(SORTER_SOCKET);
        let sorter = Connection::connect(&path, Some(Duration::from_secs(10))).expect("connected");
        let hello = SorterMessage::Hello { version: VERSION, lacks: Vec::new() };
        sorter.send(&encode(&hello).expect("short")).expect("sent");
        World { daemon, upstream, sorter }
    }

    /// The entries of both families, as `hitherctl lookup` has them.
    fn entries(&self) -> [serde_json::Value; 2] {
        let output = self.daemon.ctl(&["--json", "lookup", NAME]);
        let lines = text(&output);
        let mut all = lines.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        [(); 2].map(|()| all.next().expect("both families"))
    }

    /// Orders a family: each address, best first, with its time in milliseconds if it has answered.
    fn order(&self, rtype: &str, addresses: [(&str, Option<u32>); 2]) {
        let set_version = self.entries()[usize::from(rtype == "AAAA")]["set_version"].as_u64();
        let measured = |(address, ms): (&str, Option<u32>)| OrderedAddress {
            address: address.parse().expect("an address"),
            rtt_us: ms.map(|ms| ms * 1000),
            reachable: Some(ms.is_some()),
            verdict: Verdict::Unknown,
        };
        let order = Order {
            generation: self.daemon.json(&["status"])["table_generation"].as_u64().expect("a number"),
            name: format!("{NAME}."),
            rtype: rtype.to_owned(),
            set_version: set_version.expect("a number"),
            addresses: addresses.map(measured).to_vec(),
        };
        self.sorter.send(&encode(&SorterMessage::Order(order)).expect("short")).expect("sent");
        let mut buffer = [0; 4096];
        let reply = decode::<SorterReply>(self.sorter.receive(&mut buffer).expect("a reply"));
        assert!(matches!(reply, Ok(SorterReply::Applied { .. })), "{reply:?}");
    }

    /// Writes other lines into the configuration and reloads it.
    fn reload(&self, sort: &str) {
        Daemon::configure(&self.daemon.dir, &[&self.upstream], &format!("[sort]\n{sort}"));
        let output = self.daemon.ctl(&["reload"]);
        assert!(output.status.success(), "{output:?}");
    }

    /// The reply to a query: the data of its answers, and the extended error.
    fn reply(&self, rtype: Rtype, dnssec_ok: bool) -> (Vec<Vec<u8>>, Option<u16>) {
        let mut asked = [0; 300];
        let bits = QueryBits { rd: true, cd: false, edns: Some((1232, dnssec_ok)) };
        let len = query(&mut asked, 9, &Asked { name: &NAME.parse().expect("a name"), rtype }, bits);
        let reply = self.daemon.exchange(&asked[..len]);
        let message = Message::read(&reply).expect("readable");
        assert_eq!(message.header().rcode(), Rcode::NOERROR);
        let options = message.edns().into_iter().flat_map(|edns| edns.options());
        let error = options.filter(|(code, _)| *code == 15).find_map(|(_, data)| data.first_chunk::<2>());
        let answers = message.records().filter(|record| record.section == Section::Answer);
        (answers.map(|record| record.rdata.to_vec()).collect(), error.map(|code| u16::from_be_bytes(*code)))
    }

    fn withheld(&self) -> u64 {
        self.daemon.json(&["stats"])["families_withheld"].as_u64().expect("a number")
    }
}

fn order_of(world: &World, table: &Table) -> Vec<String> {
    let mut entry = Snapshot::new();
    let name: Name = NAME.parse().expect("a name");
    table.lookup(&name, &mut entry).expect("it is there");
    let from_rust: Vec<String> =
        table.ordered(&entry, Wanted::Both).map(|own| own.address.to_string()).collect();
    let of_ctl = world.entries();
    assert_eq!(of_ctl[0]["order"], serde_json::json!(from_rust), "hitherctl has the order of the client");
    assert_eq!(of_ctl[0]["families"], table.families().order.as_str());
    assert_eq!(of_ctl[0]["order"], of_ctl[1]["order"]);
    from_rust
}

/// The orders of the C library and of the module for getaddrinfo.
fn of_programs(world: &World) -> Option<[Vec<String>; 2]> {
    if !has("gcc", "the order of the C library and of the NSS module") {
        return None;
    }
    let program = compile(&world.daemon.dir, "tests/native/families.c", &["-ldl"]);
    let output = command(&world.daemon, program.to_str().expect("UTF-8")).arg(NAME).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines = text(&output);
    let of =
        |what: &str| lines.lines().filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect();
    Some(["library ", "module "].map(of))
}

#[test]
fn programs_get_both_families_by_measurement_and_a_reload_changes_the_order_at_once() {
    let world = World::new("");
    let table = Table::open(Some(&world.daemon.dir.join("run"))).expect("a table");
    world.order("A", [(V4[1], Some(20)), (V4[0], Some(60))]);
    world.order("AAAA", [(V6[0], Some(40)), (V6[1], None)]);
    let measured = [V4[1], V6[0], V4[0], V6[1]];
    assert_eq!(order_of(&world, &table), measured);
    if let Some(all) = of_programs(&world) {
        assert_eq!(all, [measured.map(str::to_owned).to_vec(), measured.map(str::to_owned).to_vec()]);
    }
    for (word, expected) in [
        ("v6", [V6[0], V6[1], V4[1], V4[0]]),
        ("v4", [V4[1], V4[0], V6[0], V6[1]]),
        ("as_is", [V4[1], V4[0], V6[0], V6[1]]),
        ("measured", measured),
    ] {
        world.reload(&format!("families = \"{word}\"\n"));
        assert_eq!(table.families().order.as_str(), word);
        assert_eq!(order_of(&world, &table), expected, "{word}");
        if let Some(all) = (word == "v6").then(|| of_programs(&world)).flatten() {
            assert_eq!(all, [expected.map(str::to_owned).to_vec(), expected.map(str::to_owned).to_vec()]);
        }
    }
    assert_eq!(table.families().order, FamilyOrder::Measured);
    let shown = text(&world.daemon.ctl(&["lookup", NAME]));
    assert!(shown.contains(&format!("both families (measured): {}", measured.join(", "))), "{shown}");
}

#[test]
fn a_family_is_withheld_only_if_the_operator_says_so_and_the_other_one_is_better() {
    let world = World::new("");
    let [v4, v6] = [V4.map(octets).to_vec(), V6.map(octets).to_vec()];
    world.order("A", [(V4[0], Some(20)), (V4[1], Some(30))]);
    world.order("AAAA", [(V6[0], Some(60)), (V6[1], None)]);
    assert_eq!(world.reply(Rtype::AAAA, false), (v6.clone(), None), "withhold is off");
    assert_eq!(world.withheld(), 0);
    world.reload("withhold = true\n");
    assert_eq!(world.reply(Rtype::AAAA, false), (vec![], Some(17)), "IPv6 is slower by 40 ms");
    assert_eq!(world.reply(Rtype::A, false), (v4.clone(), None));
    assert_eq!(world.reply(Rtype::AAAA, true), (v6.clone(), None), "DO");
    world.daemon.until("it is counted", |_| world.withheld() == 1);
    assert_eq!(world.entries()[1]["addresses"].as_array().map(Vec::len), Some(2), "the table keeps both");
    if let Some([library, module]) = of_programs(&world) {
        assert_eq!(library, [V4[0], V4[1], V6[0], V6[1]], "the library is not concerned");
        assert_eq!(module, V4, "getaddrinfo gets the other family");
    }
    let asked = world.daemon.json(&["query", NAME, "AAAA"]);
    let detail = asked["source_detail"].as_str().unwrap_or_default();
    assert!(detail.contains("slower than the other family"), "{asked}");
    world.reload("withhold = true\nfamily_margin = \"40ms\"\n");
    assert_eq!(world.reply(Rtype::AAAA, false), (v6.clone(), None), "the margin is not exceeded");
    world.order("AAAA", [(V6[0], None), (V6[1], None)]);
    assert_eq!(world.reply(Rtype::AAAA, false), (vec![], Some(17)), "IPv6 is unreachable");
    world.order("A", [(V4[0], None), (V4[1], None)]);
    assert_eq!(world.reply(Rtype::AAAA, false), (v6.clone(), None), "both are unreachable");
    assert_eq!(world.reply(Rtype::A, false), (v4, None));
    world.order("A", [(V4[0], Some(20)), (V4[1], Some(30))]);
    world.reload("");
    assert_eq!(world.reply(Rtype::AAAA, false), (v6, None), "withhold is off again");
}

#[test]
fn address_hints_follow_the_order_except_for_clients_with_do() {
    let world = World::new("");
    assert_eq!(world.reply(Rtype::HTTPS, false), (vec![https(V4, V6)], None));
    assert_eq!(world.reply(Rtype::HTTPS, true), (vec![https(V4, V6)], None));
    world.order("A", [(V4[1], Some(20)), (V4[0], Some(30))]);
    assert_eq!(world.reply(Rtype::HTTPS, false), (vec![https([V4[1], V4[0]], V6)], None));
    world.order("AAAA", [(V6[1], Some(20)), (V6[0], None)]);
    let moved = https([V4[1], V4[0]], [V6[1], V6[0]]);
    assert_eq!(world.reply(Rtype::HTTPS, false), (vec![moved], None));
    assert_eq!(world.reply(Rtype::HTTPS, true), (vec![https(V4, V6)], None), "DO");
}
