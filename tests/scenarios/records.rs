//! The records of responses, as scenarios write them.

use super::language::name;
use hither_wire::name::Name;
use std::net::IpAddr;

/// A record. The owner of a record without one is the question's name, or the target of the CNAME before it.
#[derive(Clone, Debug)]
pub struct Record {
    pub owner: Option<Name>,
    /// Whether the record is in the authority section, where SOA records always are.
    pub authority: bool,
    pub data: Data,
}

#[derive(Clone, Debug)]
pub enum Data {
    Address(IpAddr, u32),
    Cname(Name, u32),
    Dname(Name, u32),
    Text(String, u32),
    Soa(Name, u32, u32),
    /// A signature of the record before it, with this TTL.
    Rrsig(u32),
    /// An NSEC record with the next name and this TTL.
    Nsec(Name, u32),
    Ns(Name, u32),
}

/// Reads records that commas separate.
pub fn records(words: &[&str]) -> Result<Vec<Record>, String> {
    let text = words.join(" ");
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(record).collect()
}

fn record(text: &str) -> Result<Record, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (authority, words) = match words[..] {
        ["authority", ref rest @ ..] => (true, rest),
        ref rest => (false, rest),
    };
    let (owner, data) = match words {
        ["of", owner, data @ ..] => (Some(name(owner)?), data),
        data => (None, data),
    };
    let data = self::data(data, text)?;
    Ok(Record { owner, authority: authority || matches!(data, Data::Soa(..)), data })
}

fn data(words: &[&str], text: &str) -> Result<Data, String> {
    let ttl = |word: &str| word.parse().map_err(|_| format!("'{word}' is no TTL"));
    Ok(match *words {
        ["A" | "AAAA", address, "ttl", t] => {
            Data::Address(address.parse().map_err(|_| format!("'{address}' is no address"))?, ttl(t)?)
        }
        ["CNAME", target, "ttl", t] => Data::Cname(name(target)?, ttl(t)?),
        ["DNAME", target, "ttl", t] => Data::Dname(name(target)?, ttl(t)?),
        ["TXT", word, "ttl", t] => Data::Text(word.to_owned(), ttl(t)?),
        ["SOA", zone, "ttl", t, "minimum", m] => Data::Soa(name(zone)?, ttl(t)?, ttl(m)?),
        ["RRSIG", "ttl", t] => Data::Rrsig(ttl(t)?),
        ["NSEC", next, "ttl", t] => Data::Nsec(name(next)?, ttl(t)?),
        ["NS", server, "ttl", t] => Data::Ns(name(server)?, ttl(t)?),
        _ => return Err(format!("'{text}' is no record")),
    })
}
