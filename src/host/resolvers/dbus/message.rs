//! Messages of D-Bus as octets (D-Bus specification, "Message Protocol"): encodes calls with string
//! arguments, decodes values of any type. No I/O.
//!
//! Any octets give values or an error: lengths are compared with the octets that are there, and nesting
//! is limited by [`DEPTH_MAX`].

use std::net::IpAddr;

/// Octets of a message that is decoded. The replies to our calls have a few thousand, with many
/// wireless networks in range a few hundred thousand.
const MESSAGE_MAX: usize = 4 << 20;
/// Octets of the header before its fields.
pub(super) const FIXED_HEADER: usize = 16;
/// Containers within each other.
const DEPTH_MAX: u8 = 16;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// The flag by which the bus does not start a program that does not run.
const NO_AUTO_START: u8 = 2;

/// A value. Arrays of octets have a form of their own, since a `Value` for each octet would take much
/// memory.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::host::resolvers) enum Value {
    Number(i64),
    Text(String),
    Octets(Vec<u8>),
    List(Vec<Value>),
}

impl Value {
    pub fn number(&self) -> Option<i64> {
        if let Value::Number(number) = self { Some(*number) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    /// The members of an array, a structure, or a dictionary entry.
    pub fn list(&self) -> &[Value] {
        if let Value::List(values) = self { values } else { &[] }
    }

    /// The address in an array of 4 or 16 octets.
    pub fn ip(&self) -> Option<IpAddr> {
        let Value::Octets(octets) = self else { return None };
        match octets.len() {
            4 => <[u8; 4]>::try_from(&octets[..]).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(&octets[..]).ok().map(IpAddr::from),
            _ => None,
        }
    }

    /// The value of a key of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.list().iter().find_map(|entry| match entry.list() {
            [name, value] if name.text() == Some(key) => Some(value),
            _ => None,
        })
    }
}

/// The type of a message.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind {
    /// The reply to the call with this serial number.
    Return(u32),
    /// The call with this serial number failed; the name of the error.
    Error(u32, String),
    /// A signal; its name.
    Signal(String),
    Other,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Message {
    pub kind: Kind,
    pub values: Vec<Value>,
}

/// The octets are not a message, or the message is too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

/// A call of a method with string arguments.
pub(super) struct Call<'a> {
    pub to: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub method: &'a str,
    pub arguments: &'a [&'a str],
}

impl Call<'_> {
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut body = Vec::new();
        for argument in self.arguments {
            pad(&mut body, 4);
            put_text(&mut body, argument);
        }
        let mut out = vec![b'l', CALL, NO_AUTO_START, 1];
        out.extend(length(&body).to_le_bytes());
        out.extend(serial.to_le_bytes());
        let mut fields = Vec::new();
        for (code, kind, text) in
            [(1, b'o', self.path), (2, b's', self.interface), (3, b's', self.method), (6, b's', self.to)]
        {
            pad(&mut fields, 8);
            fields.extend([code, 1, kind, 0]);
            put_text(&mut fields, text);
        }
        if !self.arguments.is_empty() {
            pad(&mut fields, 8);
            let signature = "s".repeat(self.arguments.len());
            fields.extend([8, 1, b'g', 0, u8::try_from(signature.len()).unwrap_or(u8::MAX)]);
            fields.extend(signature.as_bytes());
            fields.push(0);
        }
        out.extend(length(&fields).to_le_bytes());
        out.extend(fields);
        pad(&mut out, 8);
        out.extend(body);
        out
    }
}

fn length(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).unwrap_or(u32::MAX)
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(length(text.as_bytes()).to_le_bytes());
    out.extend(text.as_bytes());
    out.push(0);
}

/// How many octets the message has whose header begins like this.
pub(super) fn length_of(fixed: &[u8; FIXED_HEADER]) -> Result<usize, Malformed> {
    let number = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (body, fields) = (number(4) as usize, number(12) as usize);
    // All clients of the bus are on this host, so that messages have its byte order.
    if fixed[0] != b'l' || fixed[3] != 1 || body > MESSAGE_MAX || fields > MESSAGE_MAX {
        return Err(Malformed);
    }
    let length = (FIXED_HEADER + fields).next_multiple_of(8) + body;
    if length > MESSAGE_MAX { Err(Malformed) } else { Ok(length) }
}

/// Decodes a complete message.
pub(super) fn decode(octets: &[u8]) -> Result<Message, Malformed> {
    let fixed = octets.first_chunk().ok_or(Malformed)?;
    if octets.len() != length_of(fixed)? {
        return Err(Malformed);
    }
    let body = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]) as usize;
    let (head, body) = octets.split_at(octets.len() - body);
    // Starts at the length of the fields, so that alignment is that of the message.
    let mut decoder = Decoder { octets: head, at: FIXED_HEADER - 4 };
    let fields = decoder.value(b"a(yv)", 0)?;
    let field = |code: i64| {
        fields.list().iter().find_map(|field| match field.list() {
            [Value::Number(own), value] if *own == code => Some(value),
            _ => None,
        })
    };
    let text = |code: i64| field(code).and_then(Value::text).unwrap_or_default().to_owned();
    let serial = field(5).and_then(Value::number).and_then(|serial| u32::try_from(serial).ok());
    let kind = match (fixed[1], serial) {
        (RETURN, Some(serial)) => Kind::Return(serial),
        (ERROR, Some(serial)) => Kind::Error(serial, text(4)),
        (SIGNAL, _) => Kind::Signal(text(3)),
        _ => Kind::Other,
    };
    let signature = text(8);
    let mut rest = signature.as_bytes();
    let mut decoder = Decoder { octets: body, at: 0 };
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (one, more) = rest.split_at(one_type(rest, 0)?);
        values.push(decoder.value(one, 0)?);
        rest = more;
    }
    Ok(Message { kind, values })
}

/// The length of the first complete type of a signature.
fn one_type(signature: &[u8], depth: u8) -> Result<usize, Malformed> {
    if depth > DEPTH_MAX {
        return Err(Malformed);
    }
    match signature.first() {
        Some(b'a') => Ok(1 + one_type(signature.get(1..).unwrap_or_default(), depth + 1)?),
        Some(b'(' | b'{') => {
            let end = if signature[0] == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *signature.get(at).ok_or(Malformed)? != end {
                at += one_type(&signature[at..], depth + 1)?;
            }
            // A structure has at least one member.
            if at > 1 { Ok(at + 1) } else { Err(Malformed) }
        }
        Some(
            b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h',
        ) => Ok(1),
        _ => Err(Malformed),
    }
}

/// The alignment of a type, in octets.
fn alignment(kind: u8) -> usize {
    match kind {
        b'y' | b'g' | b'v' => 1,
        b'n' | b'q' => 2,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

/// Decodes octets from a position on. Alignment counts from the start of the octets.
struct Decoder<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.octets.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let at = self.at.next_multiple_of(to);
        self.take(at - self.at).map(drop)
    }

    /// An unsigned number of `count` octets.
    fn bits(&mut self, count: usize) -> Result<u64, Malformed> {
        self.align(count)?;
        Ok(self.take(count)?.iter().rev().fold(0, |bits, octet| bits << 8 | u64::from(*octet)))
    }

    fn text(&mut self, length: usize) -> Result<String, Malformed> {
        let text = self.take(length)?;
        if self.take(1)? != [0] {
            return Err(Malformed);
        }
        String::from_utf8(text.to_vec()).map_err(|_| Malformed)
    }

    /// A value of one complete type.
    fn value(&mut self, kind: &[u8], depth: u8) -> Result<Value, Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        let (first, rest) = kind.split_first().ok_or(Malformed)?;
        let number = |bits: u64| Ok(Value::Number(bits as i64));
        match first {
            b'y' => number(self.bits(1)?),
            b'b' | b'u' | b'h' => number(self.bits(4)?),
            b'n' => number(i64::from(self.bits(2)? as u16 as i16) as u64),
            b'q' => number(self.bits(2)?),
            b'i' => number(i64::from(self.bits(4)? as u32 as i32) as u64),
            b'x' | b't' | b'd' => number(self.bits(8)?),
            b's' | b'o' => {
                let length = self.bits(4)? as usize;
                self.text(length).map(Value::Text)
            }
            b'g' => {
                let length = self.bits(1)? as usize;
                self.text(length).map(Value::Text)
            }
            b'v' => {
                let length = self.bits(1)? as usize;
                let signature = self.text(length)?;
                if one_type(signature.as_bytes(), depth)? != signature.len() {
                    return Err(Malformed);
                }
                self.value(signature.as_bytes(), depth + 1)
            }
            b'a' => self.array(rest, depth),
            b'(' | b'{' => {
                self.align(8)?;
                let mut members = rest.split_last().ok_or(Malformed)?.1;
                let mut values = Vec::new();
                while !members.is_empty() {
                    let (one, more) = members.split_at(one_type(members, depth)?);
                    values.push(self.value(one, depth + 1)?);
                    members = more;
                }
                Ok(Value::List(values))
            }
            _ => Err(Malformed),
        }
    }

    fn array(&mut self, of: &[u8], depth: u8) -> Result<Value, Malformed> {
        let length = self.bits(4)? as usize;
        self.align(alignment(*of.first().ok_or(Malformed)?))?;
        if of == b"y" {
            return Ok(Value::Octets(self.take(length)?.to_vec()));
        }
        let end = self.at.checked_add(length).filter(|end| *end <= self.octets.len()).ok_or(Malformed)?;
        let mut values = Vec::new();
        while self.at < end {
            values.push(self.value(of, depth + 1)?);
        }
        if self.at == end { Ok(Value::List(values)) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A reply with a body made by hand.
    fn reply(signature: &str, body: &[u8]) -> Vec<u8> {
        let mut fields = vec![5, 1, b'u', 0, 7, 0, 0, 0, 8, 1, b'g', 0, signature.len() as u8];
        fields.extend(signature.as_bytes());
        fields.push(0);
        let mut out = vec![b'l', RETURN, 0, 1];
        out.extend(length(body).to_le_bytes());
        out.extend([9, 0, 0, 0]);
        out.extend(length(&fields).to_le_bytes());
        out.extend(fields);
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    #[test]
    fn a_reply_is_decoded_and_so_is_a_call_of_our_own() {
        // a(isb): link 2, "corp", true.
        let mut body = vec![20, 0, 0, 0, 0, 0, 0, 0];
        body.extend([2, 0, 0, 0, 4, 0, 0, 0, b'c', b'o', b'r', b'p', 0, 0, 0, 0, 1, 0, 0, 0]);
        let message = decode(&reply("a(isb)", &body)).expect("a message");
        assert_eq!(message.kind, Kind::Return(7));
        let row = Value::List(vec![Value::Number(2), Value::Text("corp".to_owned()), Value::Number(1)]);
        assert_eq!(message.values, [Value::List(vec![row])]);
        // An entry of a dictionary whose value is a variant.
        let mut body = vec![17, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'k', 0, 1, b'i', 0, 0, 0, 0];
        body.truncate(17);
        body.extend([0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        body[0] = 16;
        let message = decode(&reply("a{sv}", &body)).expect("a message");
        assert_eq!(message.values[0].get("k"), Some(&Value::Number(-1)));
        let call =
            Call { to: "org.a", path: "/a", interface: "org.b", method: "Get", arguments: &["x", "yz"] };
        let octets = call.encode(3);
        let message = decode(&octets).expect("a message");
        assert_eq!(message.values, [Value::Text("x".to_owned()), Value::Text("yz".to_owned())]);
        for cut in 0..octets.len() {
            assert_eq!(decode(&octets[..cut]), Err(Malformed), "{cut}");
        }
    }

    #[test]
    fn too_deep_nesting_and_endless_types_are_refused() {
        for signature in ["a", "(", "()", "(i", "a{", "z", &"a".repeat(40), &"(".repeat(40), "v"] {
            let body = [0; 64];
            assert!(signature == "v" || decode(&reply(signature, &body)).is_err(), "{signature}");
        }
        // Variants nested in variants.
        let body: Vec<u8> = [1, b'v', 0].repeat(40);
        assert_eq!(decode(&reply("v", &body)), Err(Malformed));
    }

    proptest! {
        #[test]
        fn any_octets_give_values_or_an_error(signature in "[ybnqiuxtdsogvah(){}]{0,12}", body in prop::collection::vec(any::<u8>(), 0..200), octets in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = decode(&reply(&signature, &body));
            let _ = decode(&octets);
            if let Some(fixed) = octets.first_chunk() {
                let _ = length_of(fixed);
            }
        }
    }
}
