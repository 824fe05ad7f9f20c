//! Prints the addresses that hither has for a name: `cargo run -p hither-client --example lookup -- www.example.com`.
#![allow(clippy::print_stdout)]

use hither_client::{Family, Snapshot, Table};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("which name?")?.parse()?;
    let table = Table::open(None)?;
    let mut entry = Snapshot::new();
    match table.lookup(&name, &mut entry) {
        Ok(()) => {
            for family in [Family::A, Family::Aaaa] {
                let addresses =
                    entry.family(family).into_iter().flat_map(|set| set.addresses().map(|a| a.address));
                addresses.for_each(|address| println!("{address}"));
            }
        }
        other => println!("{name} {other:?}"),
    }
    Ok(())
}
