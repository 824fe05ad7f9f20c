//! Checks of the files of authorities, and remarks on encrypted upstreams. They read files, so only
//! `hitherd --check` makes them: a daemon goes on without an upstream whose authorities are missing.

use super::place::{Of, Place};
use super::{Config, Upstream};
use hither_rounds::Transport;
use hither_secure::{Roots, Trust, Verify};
use std::path::{Path, PathBuf};

impl Config {
    /// Reads each file of authorities.
    ///
    /// # Errors
    /// The key whose file is missing or has no certificate, and the reason.
    pub(super) fn check_authorities(&self) -> Result<(), (Place, String)> {
        let common = self.upstreams.tls.ca_file.as_ref();
        if let Some(file) = common {
            let place = Place { section: "tls", key: "ca_file", of: Of::Last };
            read(file).map_err(|why| (place, why))?;
        }
        for upstream in self.upstreams.usual.iter() {
            let own = upstream.authorities().filter(|own| Some(*own) != common);
            if let Some(file) = own {
                let of = Of::Upstream(upstream.id.clone());
                read(file).map_err(|why| (Place { section: "upstream", key: "ca_file", of }, why))?;
            }
        }
        Ok(())
    }

    /// The files of authorities, each once.
    #[must_use]
    pub fn authorities(&self) -> Vec<PathBuf> {
        let own = self.upstreams.usual.iter().filter_map(Upstream::authorities);
        let mut files: Vec<PathBuf> = self.upstreams.tls.ca_file.iter().chain(own).cloned().collect();
        files.sort();
        files.dedup();
        files
    }

    /// Remarks on encrypted upstreams, and on those that are probably meant to be.
    pub(super) fn hints_on_encryption(&self) -> Vec<String> {
        let all = || self.upstreams.all().chain(&self.upstreams.tls.bootstrap);
        let mut hints = Vec::new();
        let needs_system = |upstream: &&Upstream| {
            let policy = upstream.policy.as_ref();
            policy.is_some_and(|policy| policy.verify == Verify::Strict && policy.roots == Roots::System)
        };
        if let Some(upstream) = all().find(needs_system)
            && let Err(why) = Trust::load(&Roots::System)
        {
            hints.push(format!("{upstream} and others cannot be authenticated: {why}"));
        }
        if self.uses_system() && self.upstreams.tls.bootstrap.is_empty() {
            let by_system = self.upstreams.usual.iter().filter(|upstream| upstream.lookup.is_some());
            hints.extend(by_system.map(|upstream| {
                format!(
                    "the name of {upstream} is asked of the system's resolvers, since no other upstream is an address; \
                     name other servers in tls.bootstrap, or its addresses in addresses"
                )
            }));
        }
        for upstream in all().filter(|upstream| is_port_of_tls(upstream)) {
            hints.push(format!(
                "{upstream} is asked in clear text, although 853 is the port of DNS over TLS, for which an address \
                 begins with tls://"
            ));
        }
        let mut distinct = Vec::new();
        hints.retain(|hint| {
            let is_new = !distinct.contains(hint);
            distinct.push(hint.clone());
            is_new
        });
        hints
    }
}

impl Upstream {
    /// The file of its authorities, if it is configured with one.
    fn authorities(&self) -> Option<&PathBuf> {
        match &self.policy.as_ref()?.roots {
            Roots::File(file) => Some(file),
            Roots::System => None,
        }
    }
}

fn is_port_of_tls(upstream: &Upstream) -> bool {
    matches!(upstream.transport, Transport::Udp | Transport::Tcp) && upstream.port == 853
}

fn read(file: &Path) -> Result<(), String> {
    match Trust::load(&Roots::File(file.to_owned())) {
        Ok(_) => Ok(()),
        Err(why) => Err(format!("ca_file: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, check_text};
    use std::path::PathBuf;

    /// A directory of its own for a test, with a file of one certificate.
    fn directory(test: &str) -> (PathBuf, PathBuf) {
        let dir = std::env::temp_dir().join(format!("hither-authorities-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
        let file = dir.join("site.pem");
        std::fs::write(&file, authority.pem()).expect("written");
        (dir, file)
    }

    #[test]
    fn a_file_of_authorities_that_is_missing_or_empty_is_an_error_at_its_key() {
        let (dir, good) = directory("files");
        let (missing, empty) = (dir.join("missing.pem"), dir.join("empty.pem"));
        std::fs::write(&empty, "no certificate\n").expect("written");
        let config = dir.join("hither.toml");
        let said = |text: String| {
            std::fs::write(&config, text).expect("written");
            assert!(Config::load(Some(&config)).is_ok(), "a daemon goes on without that upstream");
            Config::load_with_authorities(Some(&config))
                .map(|config| config.authorities())
                .map_err(|e| e.to_string())
        };
        let upstream =
            |file: &PathBuf| format!("[[upstream]]\naddress = \"tls://192.0.2.1\"\nca_file = {file:?}\n");
        let tls = |file: &PathBuf| format!("[tls]\nca_file = {file:?}\n");
        assert_eq!(said(upstream(&good) + &tls(&good)), Ok(vec![good.clone()]));
        let error = said(upstream(&missing)).expect_err("missing");
        let expected = format!(
            "{}:3:11: ca_file: cannot read the certificate authorities in {}",
            config.display(),
            missing.display()
        );
        assert!(error.starts_with(&expected), "{error}");
        let error = said(upstream(&good) + &tls(&empty)).expect_err("empty");
        assert!(error.contains(":5:11: ca_file: ") && error.contains("has no usable certificate"), "{error}");
        std::fs::remove_dir_all(dir).expect("removable");
    }

    #[test]
    fn what_is_probably_not_meant_is_remarked_on() {
        let (dir, good) = directory("hints");
        let tls = format!("[tls]\nca_file = {good:?}\n");
        let by_name = "[[upstream]]\naddress = \"tls://dns.example\"\n";
        let hints = |text: &str| check_text(&format!("{tls}{text}")).expect("right").hints();
        let asked = "the name of tls://dns.example is asked of the system's resolvers";
        assert!(hints(by_name)[0].starts_with(asked), "{:?}", hints(by_name));
        for named in
            ["[[upstream]]\naddress = \"192.0.2.1\"\n", "[[upstream]]\naddress = \"quic://192.0.2.1\"\n"]
        {
            assert_eq!(hints(&format!("{by_name}{named}")), [""; 0]);
        }
        assert_eq!(hints(&format!("bootstrap = [\"192.0.2.1\"]\n{by_name}")), [""; 0]);
        let clear =
            hints("[[upstream]]\naddress = \"192.0.2.1:853\"\n[[upstream]]\naddress = \"192.0.2.1:853\"\n");
        assert_eq!(clear[0], "the upstream 192.0.2.1:853 is there twice, and asked once");
        assert!(
            clear[1].contains("in clear text, although 853 is the port of DNS over TLS") && clear.len() == 2
        );
        std::fs::remove_dir_all(dir).expect("removable");
    }
}
