//! The header section of a response, checked (RFC 9113, sections 8.2 and 8.3), and its trailers.

use crate::error::{Error, Fault, Flood};
use crate::hpack::{Field, Fields, Table};
use crate::{Config, Headers};

/// Fields that belong to HTTP/1.1 connections (section 8.2.2).
const OF_CONNECTIONS: [&[u8]; 5] =
    [b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"];
/// What a field adds to the length of a header section (section 6.5.2).
const FIELD_OVERHEAD: usize = 32;
/// An age that is too large for us, in seconds (RFC 9111, section 1.2.2).
const AGE_S_MAX: u32 = 1 << 31;

/// The beginning of a response.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// From 100 to 999. Below 200 another header section follows (section 8.1).
    pub status: u16,
    pub headers: Headers,
}

/// A header section that is not usable.
#[derive(Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Its octets cannot be decoded (section 4.3), or are too many, which ends the connection.
    Octets(Error),
    /// Its fields are malformed, which ends the stream (section 8.1.1).
    Fields(Fault),
}

impl From<Fault> for Unusable {
    fn from(fault: Fault) -> Self {
        Self::Fields(fault)
    }
}

impl Head {
    /// Reads the header section of a response.
    ///
    /// # Errors
    /// See [`Unusable`].
    pub fn read(section: &[u8], table: &mut Table, config: &Config) -> Result<Self, Unusable> {
        let (mut status, mut headers, mut has_others) = (None, Headers::default(), false);
        each_field(section, table, config, |field| {
            if field.name.first() != Some(&b':') {
                has_others = true;
                return headers.add(field);
            }
            if has_others || status.is_some() || *field.name != *b":status" {
                return Err(Fault::Status);
            }
            status = Some(parse_status(&field.value).ok_or(Fault::Status)?);
            Ok(())
        })?;
        Ok(Self { status: status.ok_or(Fault::Status)?, headers })
    }

    /// Only bodies of these responses are kept.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Checks trailers, whose fields do not matter for DNS.
///
/// # Errors
/// See [`Unusable`].
pub fn check_trailers(section: &[u8], table: &mut Table, config: &Config) -> Result<(), Unusable> {
    each_field(section, table, config, |field| check_field(&field))
}

/// Decodes the header section of a stream that has ended, which later ones may depend on.
///
/// # Errors
/// See [`Unusable`].
pub fn skip(section: &[u8], table: &mut Table, config: &Config) -> Result<(), Unusable> {
    each_field(section, table, config, |_| Ok(()))
}

/// Decodes all fields, even after a fault.
fn each_field<'a>(
    section: &'a [u8],
    table: &mut Table,
    config: &Config,
    mut each: impl FnMut(Field<'a>) -> Result<(), Fault>,
) -> Result<(), Unusable> {
    let (mut length, mut sound) = (0, Ok(()));
    for field in Fields::new(section, table) {
        let field = field.map_err(|error| Unusable::Octets(Error::Hpack(error)))?;
        length += field.name.len() + field.value.len() + FIELD_OVERHEAD;
        if length > config.header_list_max as usize {
            return Err(Unusable::Octets(Error::Flood(Flood::HeaderSection)));
        }
        sound = sound.and_then(|()| each(field));
    }
    Ok(sound?)
}

fn parse_status(value: &[u8]) -> Option<u16> {
    let digits =
        str::from_utf8(value).ok().filter(|value| value.bytes().all(|octet| octet.is_ascii_digit()))?;
    // Section 8.6: a protocol is not switched in HTTP/2.
    digits.parse().ok().filter(|status| digits.len() == 3 && *status >= 100 && *status != 101)
}

fn check_field(field: &Field<'_>) -> Result<(), Fault> {
    let is_allowed = |octet: &u8| {
        octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(octet)
    };
    let is_sound = !field.name.is_empty()
        && field.name.iter().all(is_allowed)
        && !field.value.iter().any(|octet| b"\0\r\n".contains(octet))
        && !OF_CONNECTIONS.contains(&&*field.name);
    is_sound.then_some(()).ok_or(Fault::Field)
}

impl Headers {
    /// Keeps a field if it matters. A value that is not readable counts as absent; of fields that may
    /// stand once, the first counts.
    fn add(&mut self, field: Field<'_>) -> Result<(), Fault> {
        check_field(&field)?;
        let value = || str::from_utf8(&field.value).ok().map(|value| value.trim_matches([' ', '\t']));
        match &*field.name {
            b"content-type" => keep_first(&mut self.content_type, value()),
            b"retry-after" => keep_first(&mut self.retry_after, value()),
            b"cache-control" => match (&mut self.cache_control, value()) {
                (Some(before), Some(value)) => before.extend([", ", value]),
                (before, value) => keep_first(before, value),
            },
            b"age" if self.age_s.is_none() => self.age_s = value().and_then(parse_age_s),
            b"content-length" => {
                let length = value().and_then(parse_number).ok_or(Fault::ContentLength)?;
                if self.content_length.replace(length).is_some_and(|before| before != length) {
                    return Err(Fault::ContentLength);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn keep_first(kept: &mut Option<String>, value: Option<&str>) {
    if kept.is_none() {
        *kept = value.map(str::to_owned);
    }
}

fn parse_number(value: &str) -> Option<u64> {
    // `parse` would allow a sign.
    value.parse().ok().filter(|_| value.bytes().all(|octet| octet.is_ascii_digit()))
}

fn parse_age_s(value: &str) -> Option<u32> {
    let is_number = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
    is_number.then(|| value.parse().map_or(AGE_S_MAX, |age_s: u32| age_s.min(AGE_S_MAX)))
}

#[cfg(test)]
mod tests;
