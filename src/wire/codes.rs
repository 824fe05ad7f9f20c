//! The numbers of DNS: types, classes, response codes, opcodes. Every number is a value; the known
//! ones have names.

use core::fmt;
use core::str::FromStr;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, $int:ty, $prefix:literal, { $($code:ident = $value:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        #[allow(missing_docs)] // The registry's own mnemonics.
        impl $name {
            $(pub const $code: $name = $name($value);)*
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    $($value => f.pad(stringify!($code)),)*
                    other => write!(f, concat!($prefix, "{}"), other),
                }
            }
        }

        impl FromStr for $name {
            type Err = UnknownCode;

            fn from_str(text: &str) -> Result<$name, UnknownCode> {
                $(if text.eq_ignore_ascii_case(stringify!($code)) {
                    return Ok($name($value));
                })*
                let head = text.get(..$prefix.len()).ok_or(UnknownCode)?;
                let number = text.get($prefix.len()..).ok_or(UnknownCode)?;
                if !head.eq_ignore_ascii_case($prefix) || number.starts_with('+') {
                    return Err(UnknownCode);
                }
                number.parse().map($name).map_err(|_| UnknownCode)
            }
        }
    };
}

/// A mnemonic that is neither known nor in the generic form, such as `TYPE65280` (RFC 3597, section
/// 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownCode;

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a known mnemonic, nor of the form TYPE65280")
    }
}

impl core::error::Error for UnknownCode {}

codes! {
    /// The type of a record or a question.
    Rtype, u16, "TYPE", {
        A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16, RP = 17, AFSDB = 18, SIG = 24, KEY = 25,
        AAAA = 28, LOC = 29, SRV = 33, NAPTR = 35, KX = 36, CERT = 37, DNAME = 39, OPT = 41, APL = 42, DS = 43, SSHFP = 44,
        IPSECKEY = 45, RRSIG = 46, NSEC = 47, DNSKEY = 48, DHCID = 49, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52, SMIMEA = 53,
        HIP = 55, CDS = 59, CDNSKEY = 60, OPENPGPKEY = 61, CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65, SPF = 99,
        EUI48 = 108, EUI64 = 109, TKEY = 249, TSIG = 250, IXFR = 251, AXFR = 252, MAILB = 253, MAILA = 254, ANY = 255,
        URI = 256, CAA = 257,
    }
}

codes! {
    /// The class of a record or a question.
    Class, u16, "CLASS", { IN = 1, CH = 3, HS = 4, NONE = 254, ANY = 255 }
}

codes! {
    /// A response code: four bits of the header, and the upper eight bits of OPT above them (RFC
    /// 6891, section 6.1.3).
    Rcode, u8, "RCODE", {
        NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5, YXDOMAIN = 6, YXRRSET = 7, NXRRSET = 8,
        NOTAUTH = 9, NOTZONE = 10, BADVERS = 16, BADCOOKIE = 23,
    }
}

codes! {
    /// The kind of query that a message is.
    Opcode, u8, "OPCODE", { QUERY = 0, IQUERY = 1, STATUS = 2, NOTIFY = 4, UPDATE = 5, DSO = 6 }
}
