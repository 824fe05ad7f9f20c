//! Parses any octets as a message of a site's channel. The result is a refusal, or an entry that is written
//! as it was read; signed, no change of it is accepted; and no clock makes it last longer than it had left.
#![no_main]

use hither_entries::{Arrival, Clocks, Judge, Judgement, Key, Keys, Seal, decode_message, encode_message};
use libfuzzer_sys::fuzz_target;

fn seal(secret: Option<&[u8]>) -> Seal {
    let key = secret.map(|secret| Key::from_credential(secret).expect("long enough"));
    Seal::new(Keys::new("h").expect("a prefix"), key)
}

// Three octets choose how it arrives, the clock, and the change; then the message.
fuzz_target!(|octets: &[u8]| {
    let Some(([how, clock, change], message)) = octets.split_first_chunk::<3>() else { return };
    let Ok((key, value)) = decode_message(message) else { return };
    let (plain, signing) = (seal(None), seal(Some(b"a secret of the site")));
    assert!(signing.open(key, value).is_err(), "it has no signature, or one made by chance");
    let Ok(entry) = plain.open(key, value) else { return };
    let (again_key, again) = plain.seal(&entry).expect("what was read can be written");
    assert_eq!(encode_message(&again_key, &again), message);

    // Larger by the signature, which is in the bound of both.
    let (_, mut signed) = signing.seal(&entry).expect("an entry");
    assert_eq!(signing.open(key, &signed).as_ref(), Ok(&entry));
    let bit = usize::from(*change) * signed.len() / 32;
    signed[bit / 8] ^= 1 << (bit % 8);
    assert!(signing.open(key, &signed).is_err());

    let now = Clocks {
        wall_ms: entry.times.learned_ms.saturating_add_signed((i64::from(*clock) - 128) << (how % 16)),
        boot_ms: u64::from(*clock) << (how % 32),
    };
    let arrival = match how % 3 {
        0 => Arrival::Published,
        1 => Arrival::Kept { left_ms: None },
        _ => Arrival::Kept { left_ms: Some(u64::from(*change) << (how % 32)) },
    };
    let mut judge = Judge::new("omega", "rack", [1, 2]);
    let left_ms = u64::from(entry.times.left_ms);
    for _ in 0..2 {
        if let Judgement::New(judged) | Judgement::Known(judged) = judge.judge(entry.clone(), arrival, now) {
            assert!(judged.expire_ms > now.boot_ms && judged.expire_ms - now.boot_ms <= left_ms);
            assert!(judged.asked <= judged.learned && judged.learned.as_ms() <= now.boot_ms.max(1));
        }
    }
});
