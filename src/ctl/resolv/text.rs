//! Edits of resolv.conf and other configuration files, as octets.

use crate::ctl::doctor::plan;
use std::net::IpAddr;

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|octet| *octet == b'\n')
}

/// The server that a line of resolv.conf names.
fn server_of(line: &[u8]) -> Option<IpAddr> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let server = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
    server.split('%').next()?.parse().ok()
}

/// The first server of a resolv.conf.
pub(super) fn first_server(text: &[u8]) -> Option<IpAddr> {
    lines(text).find_map(server_of)
}

/// The text without the line of its first server.
pub(super) fn without_first_server(text: &[u8]) -> Vec<u8> {
    let first = lines(text).position(|line| server_of(line).is_some());
    lines(text).enumerate().filter(|(n, _)| Some(*n) != first).flat_map(|(_, line)| line).copied().collect()
}

/// The text without each line that is our mark and the `below` lines under it.
pub(super) fn without_marked(text: &[u8], below: usize) -> Vec<u8> {
    let mut left_out = 0;
    let kept = lines(text).filter(|line| {
        if line.trim_ascii_end() == plan::MARK.as_bytes() {
            left_out = below + 1;
        }
        let keep = left_out == 0;
        left_out = left_out.saturating_sub(1);
        keep
    });
    kept.flatten().copied().collect()
}

/// The line feed that the last line lacks, if it does.
pub(super) fn line_end(text: &[u8]) -> &'static [u8] {
    if text.last().is_none_or(|last| *last == b'\n') { b"" } else { b"\n" }
}
