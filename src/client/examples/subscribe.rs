//! Prints each change of the addresses of names: `cargo run -p hither-client --example subscribe --
//! www.example.com`.
#![allow(clippy::print_stdout)]

use hither_client::{Change, Missed, Name, Snapshot, SubscribeError, Subscription, Table, Wanted};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names = std::env::args().skip(1).map(|name| name.parse()).collect::<Result<Vec<Name>, _>>()?;
    if names.is_empty() {
        return Err("usage: subscribe NAME...".into());
    }
    loop {
        let (table, changes) = subscribe(&names)?;
        // A change is missed neither between two subscriptions nor before the first one.
        names.iter().for_each(|name| show(&table, name));
        loop {
            match changes.next(Duration::from_secs(3600)) {
                Ok(Some(Change { name, family, cause, .. })) => {
                    println!("{name} {family:?}: {}", cause.as_str());
                    show(&table, &name);
                }
                // A gap: the names that have changed follow.
                Ok(None) | Err(Missed::Gap) => {}
                Err(Missed::Ended) => break,
            }
        }
    }
}

/// Subscribes, and waits for a daemon that is being restarted.
fn subscribe(names: &[Name]) -> Result<(Table, Subscription), SubscribeError> {
    loop {
        if let Ok(table) = Table::open(None) {
            match table.subscribe(names, Wanted::Both) {
                Ok(subscription) => return Ok((table, subscription)),
                Err(SubscribeError::NoDaemon(_)) => {}
                Err(refused) => return Err(refused),
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn show(table: &Table, name: &Name) {
    let mut entry = Snapshot::new();
    match table.lookup(name, &mut entry) {
        Ok(()) => {
            table.ordered(&entry, Wanted::Both).for_each(|address| println!("{name} has {}", address.address))
        }
        Err(_) => println!("{name} is not in the table"),
    }
}
