//! Prints what hither has for a name: `cargo run -p hither-client --example lookup -- www.example.com`.
#![allow(clippy::print_stdout)]

use hither_client::{Answer, Family, Monotonic, Rtt, Snapshot, Table, Wanted};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("usage: lookup NAME")?.parse()?;
    let table = Table::open(None)?;
    let (mut entry, now) = (Snapshot::new(), Monotonic::now());
    let answer = table.answer(&name, Wanted::Both, now, &mut entry);
    if !matches!(answer, Answer::Fresh | Answer::Stale) {
        println!("{name}: {answer:?}, ask the resolver");
        return Ok(());
    }
    println!("{name}: {answer:?}");
    for set in [Family::A, Family::Aaaa].into_iter().filter_map(|family| entry.family(family)) {
        if let Some(denial) = set.negative() {
            println!("  {} for {} s", denial.as_str(), set.ttl(now));
        }
        // Nearest first.
        for address in set.addresses() {
            let measured = match address.rtt {
                Rtt::Micros(micros) => format!("{micros} us away"),
                Rtt::Unmeasured => "not measured".to_owned(),
                Rtt::Unreachable => "unreachable".to_owned(),
            };
            let (trust, sources) = (address.trust.as_str(), address.sources);
            println!(
                "  {} for {} s, {measured}, certificate {trust}, from {sources} upstreams",
                address.address,
                set.ttl(now)
            );
        }
    }
    Ok(())
}
