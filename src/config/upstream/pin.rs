//! Pins: `sha256/` and the SHA-256 of a public key in base64 (RFC 7469 section 2.4, RFC 7858 section 4.2).

use crate::config::base64;
use hither_secure::Pin;

/// What stands in front of each pin.
const PREFIX: &str = "sha256/";

/// Reads a pin.
///
/// # Errors
/// Why the text is none, as a sentence that begins with the text in quotes.
pub(super) fn read(text: &str) -> Result<Pin, String> {
    if let Some(pin) = text.strip_prefix(PREFIX).and_then(octets) {
        return Ok(pin);
    }
    let what = "expected \"sha256/\" and the 44 base64 characters of the SHA-256 of the server's public key";
    match meant(text) {
        Some(pin) => Err(format!("'{text}' is not a pin; write \"{}\"", written(&pin))),
        None if is_hexadecimal(text) => Err(format!(
            "'{text}' is not a pin: it is in hexadecimal, and may be that of a certificate instead of a key; {what}"
        )),
        None => Err(format!("'{text}' is not a pin; {what}")),
    }
}

/// A pin as the configuration has it.
pub(super) fn written(pin: &Pin) -> String {
    format!("{PREFIX}{}", base64::encode(pin))
}

fn octets(text: &str) -> Option<Pin> {
    base64::decode(text)?.try_into().ok()
}

/// The pin in the syntax of another program: `sha256//` of curl, `pin-sha256="…"` of RFC 7469 and others,
/// no prefix, another alphabet, no padding.
fn meant(text: &str) -> Option<Pin> {
    let text = text.trim();
    let front = ["pin-sha256", "sha256", "SHA256", "SHA-256", "sha-256"];
    let rest = front.iter().find_map(|front| text.strip_prefix(front)).unwrap_or(text);
    let rest =
        rest.trim_start_matches([':', '=', '/', ' ', '"', '\'']).trim_end_matches(['"', '\'', ';', ' ']);
    let plain = rest.trim_end_matches('=').replace('-', "+").replace('_', "/");
    // 32 octets are 43 characters. An octet more or less is a slip that nobody else can correct.
    (plain.len() == 43).then(|| octets(&format!("{plain}=")))?
}

fn is_hexadecimal(text: &str) -> bool {
    let digits = text.rsplit(['/', '=']).next().unwrap_or_default().replace([':', ' '], "");
    digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}
