//! Which names are shown to servers by handshakes. Pure.

use hither_secure::ServerName;
use hither_wire::name::Name;
use std::collections::BTreeSet;

/// Characters of a label (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// The domains whose names are shown to no server.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// `sort.tls_except`, and the domains that have upstreams of their own, in lower case.
    except: BTreeSet<Name>,
}

impl Rules {
    pub fn new(except: impl IntoIterator<Item = Name>) -> Rules {
        Rules { except: except.into_iter().map(|name| name.to_lower()).collect() }
    }

    /// Leaves out the names of more domains.
    pub fn leave_out(&mut self, domains: impl IntoIterator<Item = Name>) {
        self.except.extend(domains.into_iter().map(|name| name.to_lower()));
    }

    /// The name for a handshake; `None` if it is excepted, or no name of a server in the public DNS.
    pub fn server_name(&self, wire: &[u8]) -> Option<ServerName<'static>> {
        let name = Name::from_wire(wire).ok()?;
        let is_excepted = |at: Name| self.except.contains(&at);
        if !self.except.is_empty() && std::iter::successors(Some(name), Name::parent).any(is_excepted) {
            return None;
        }
        let text = name.to_string();
        let text = text.strip_suffix('.').unwrap_or(&text);
        is_of_a_server(text).then(|| ServerName::try_from(text.to_owned()).ok()).flatten()
    }
}

/// Whether a name without the final dot can be that of a server: two labels or more of letters, digits and
/// hyphens (RFC 1123, section 2.1), so no `_dmarc`. The last one is no number, or it would be an address.
fn is_of_a_server(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_character = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=LABEL_MAX).contains(&label.len())
            && label.chars().all(is_character)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.contains('.') && name.split('.').all(is_label) && !last.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn shown(rules: &Rules, text: &str) -> Option<String> {
        rules.server_name(name(text).as_wire()).map(|name| name.to_str().into_owned())
    }

    #[test]
    fn names_of_servers_are_shown_without_the_final_dot() {
        let rules = Rules::default();
        assert_eq!(shown(&rules, "www.example.").as_deref(), Some("www.example"));
        assert_eq!(shown(&rules, "xn--bcher-kva.example").as_deref(), Some("xn--bcher-kva.example"));
        assert_eq!(shown(&rules, "4.example").as_deref(), Some("4.example"));
        for other in [
            ".",
            "localhost",
            "_dmarc.example.com",
            "_443._tcp.www.example",
            "a_b.example",
            "-a.example",
            "a-.example",
            "a\\032b.example",
            "a\\.b.example",
            "a\\*.example",
            "*.example",
            "192.0.2.1",
        ] {
            assert_eq!(shown(&rules, other), None, "{other}");
        }
    }

    #[test]
    fn excepted_domains_cover_themselves_and_all_below() {
        let rules = Rules::new([name("Corp.example"), name("one.test")]);
        for covered in ["corp.example", "www.corp.example", "a.b.corp.example", "one.test"] {
            assert_eq!(shown(&rules, covered), None, "{covered}");
        }
        for other in ["example.com", "xcorp.example", "two.test"] {
            assert!(shown(&rules, other).is_some(), "{other}");
        }
        assert_eq!(shown(&Rules::new([Name::ROOT]), "www.example"), None, "the root covers everything");
    }
}
