//! Prints every name whose answers change: `cargo run -p hither-client --example watch`.
#![allow(clippy::print_stdout)]

use hither_client::{Name, Snapshot, Step, Table};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let table = Table::open(None)?;
    let mut follower = table.watch();
    let mut entry = Snapshot::new();
    loop {
        match follower.step(&mut entry) {
            Step::Record => println!("{} has version {}", Name::from_wire(entry.name())?, entry.version()),
            Step::Changed => println!("an entry was removed or replaced"),
            Step::Lapped => println!("more has changed than is remembered"),
            Step::Nothing => follower.wait(Duration::from_secs(60)),
            Step::Replaced => {
                if !table.reopen() {
                    return Err("the daemon has removed its table".into());
                }
                follower = table.watch();
            }
        }
    }
}
