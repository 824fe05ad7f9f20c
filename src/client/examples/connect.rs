//! Connects to the nearest address of a name: `cargo run -p hither-client --example connect --
//! www.example.com 443`.
#![allow(clippy::print_stdout)]

use hither_client::{ConnectError, Table};
use std::net::TcpStream;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: connect NAME PORT".into());
    };
    let port: u16 = port.parse()?;
    let by_hither = Table::open(None).map_err(|_| ConnectError::AskTheResolver).and_then(|table| {
        let parsed = name.parse().map_err(|_| ConnectError::NoAddress)?;
        table.connect(&parsed, port, Duration::from_secs(10))
    });
    let connected = match by_hither {
        Err(ConnectError::AskTheResolver) => TcpStream::connect((name.as_str(), port))?,
        other => other?,
    };
    println!("{}", connected.peer_addr()?);
    Ok(())
}
