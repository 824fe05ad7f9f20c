//! The functions of `include/hither.h` for the feed of changes.
#![allow(unsafe_code)]

use crate::abi::{handle_of, wanted_of};
use crate::types::{
    BAD_ARGUMENT, BAD_NAME, Change, ENDED, FRESH, GAP, Hither, NAME_TEXT, NO_CHANGE, NOT_SUBSCRIBED, REFUSED,
    code,
};
use core::ffi::{CStr, c_char, c_int};
use core::time::Duration;
use hither_native::{Cause, Errno, NoChange, NotSubscribed, Subscribed, next_change};
use hither_table::Family;
use hither_wire::name::Name;

/// Subscribes to `count` names, within `timeout_ms` milliseconds, and stores a descriptor in `*descriptor`;
/// -1 if there is no subscription. Sets errno if the result is `HITHER_NOT_SUBSCRIBED`.
///
/// # Safety
/// `handle` is as for `hither_close`; `names` is null or has `count` pointers, each null or a C string;
/// `descriptor` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_subscribe(
    handle: *mut Hither,
    names: *const *const c_char,
    count: usize,
    families: c_int,
    timeout_ms: u32,
    descriptor: *mut c_int,
) -> c_int {
    let mut errno = Errno::save();
    // SAFETY: as the caller promises.
    let (handle, descriptor) = unsafe { (handle_of(handle), descriptor.as_mut()) };
    let (Some(handle), Some(descriptor)) = (handle, descriptor) else { return BAD_ARGUMENT };
    *descriptor = -1;
    let Some(wanted) = wanted_of(families).filter(|_| !names.is_null() && count != 0) else {
        return BAD_ARGUMENT;
    };
    // SAFETY: `n` is below `count`, and the pointer there is null or a C string, as the caller promises.
    let text = |n: usize| unsafe {
        let name = *names.add(n);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes())
    };
    for n in 0..count {
        match text(n).map(Name::from_text) {
            Some(Ok(_)) => {}
            Some(Err(_)) => return BAD_NAME,
            None => return BAD_ARGUMENT,
        }
    }
    let mut names = (0..count).filter_map(|n| Some(Name::from_text(text(n)?).ok()?.to_lower()));
    match handle.subscribe(&mut names, wanted, Duration::from_millis(u64::from(timeout_ms))) {
        Ok(Subscribed(number)) => {
            *descriptor = number;
            FRESH
        }
        Err(NotSubscribed::Unusable(why)) => code(why),
        Err(NotSubscribed::Refused(_)) => REFUSED,
        Err(NotSubscribed::Failed(why)) => {
            errno.set(why);
            NOT_SUBSCRIBED
        }
    }
}

/// Stores the next change of a subscription in `*change`, without waiting.
///
/// # Safety
/// `change` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hither_next_change(descriptor: c_int, change: *mut Change) -> c_int {
    let _errno = Errno::save();
    if change.is_null() {
        return BAD_ARGUMENT;
    }
    match next_change(descriptor) {
        Ok(next) => {
            // SAFETY: as the caller promises.
            unsafe { change.write(of(&next)) };
            FRESH
        }
        Err(NoChange::Nothing) => NO_CHANGE,
        Err(NoChange::Gap) => GAP,
        Err(NoChange::Ended) => ENDED,
        Err(NoChange::NotASubscription) => BAD_ARGUMENT,
    }
}

fn of(change: &hither_native::Change) -> Change {
    let cause = match change.cause {
        Cause::NewSet => 1,
        Cause::Withdrawn => 2,
        Cause::Gone => 3,
        Cause::Order => 4,
        Cause::Local => 5,
        Cause::Other => 6,
    };
    let family = match change.family {
        Family::A => 1,
        Family::Aaaa => 2,
    };
    let (version, set_version) = (change.version, change.set_version);
    let mut name = [0; NAME_TEXT];
    write_name(&change.name, &mut name);
    Change { version, set_version, family, cause, coalesced: change.coalesced.into(), reserved: [0; 3], name }
}

/// Writes a name in presentation form without its final dot; the root is a dot. The text ends with a NUL,
/// since it is shorter than the room.
fn write_name(name: &Name, out: &mut [c_char; NAME_TEXT]) {
    let mut places = out.iter_mut();
    let mut put = |octet: u8| {
        if let Some(place) = places.next() {
            *place = octet as c_char;
        }
    };
    if name.is_root() {
        return put(b'.');
    }
    for (n, label) in name.labels().enumerate() {
        if n != 0 {
            put(b'.');
        }
        for octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    put(b'\\');
                    put(*octet);
                }
                0x21..=0x7e => put(*octet),
                _ => {
                    put(b'\\');
                    put(b'0' + octet / 100);
                    put(b'0' + octet / 10 % 10);
                    put(b'0' + octet % 10);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        let longest = [[0xff; 63].as_slice(); 3].map(|label| [&[63][..], label].concat()).concat();
        let longest = [&longest[..], &[61], &[0xff; 61], &[0]].concat();
        let odd = Name::from_wire(&longest).expect("255 octets");
        for name in [odd, Name::ROOT, "a\\.b.\\032$x.example".parse().expect("a name")] {
            let mut text = [0; NAME_TEXT];
            write_name(&name, &mut text);
            let octets: Vec<u8> = text.iter().map(|octet| *octet as u8).collect();
            let text = CStr::from_bytes_until_nul(&octets).expect("a NUL").to_bytes();
            assert_eq!(Name::from_text(text), Ok(name));
            let shown = name.to_string();
            let shown = shown.strip_suffix('.').filter(|text| !text.is_empty()).unwrap_or(&shown);
            assert_eq!(text, shown.as_bytes());
        }
    }
}
