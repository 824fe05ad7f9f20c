//! Parses any text as a configuration. The result is values, or an error with its line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok(text) = std::str::from_utf8(octets)
        && let Err(error) = hither::config::check_text(text)
    {
        assert!(error.to_string().contains("hither.toml"), "{error}");
    }
});
