//! The TTLs of a response that was kept on its way: HTTP caches say for how long (RFC 8484, section 5.1).

use crate::codes::Rtype;
use crate::message::Message;

/// Lowers the TTL of each record but OPT by `age_s` seconds, and to what is left of the `lifetime_s`
/// seconds for which the response may be used from when it was made. No TTL falls below 0.
///
/// Octets that are no message stay as they are, as do sections that [`Message::records`] does not give.
pub fn age(octets: &mut [u8], age_s: u32, lifetime_s: Option<u32>) {
    let Ok(message) = Message::open(octets) else { return };
    let mut position = message.records().position();
    let most_s = lifetime_s.map_or(u32::MAX, |lifetime_s| lifetime_s.saturating_sub(age_s));
    loop {
        // The octets change between two records, so none is borrowed meanwhile. The end of each record
        // depends on no TTL.
        let mut records = position.records(octets);
        let Some(record) = records.next() else { return };
        position = records.position();
        if record.rtype != Rtype::OPT {
            let (at, ttl_s) = (record.ttl_at, record.ttl.saturating_sub(age_s).min(most_s));
            if let Some(field) = octets.get_mut(at..at + 4) {
                field.copy_from_slice(&ttl_s.to_be_bytes());
            }
        }
    }
}
