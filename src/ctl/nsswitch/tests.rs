//! Lines of hosts as they occur, and any octets.

use super::*;
use proptest::prelude::*;

fn enable(text: &str) -> Result<String, LineError> {
    let changed = enabled(text.as_bytes())?;
    Ok(changed.map_or_else(|| text.to_owned(), |text| String::from_utf8(text).expect("as before")))
}

#[test]
fn hither_is_added_before_the_first_source_that_asks_the_dns() {
    for (before, after) in [
        ("hosts: files dns\n", "hosts: files hither [NOTFOUND=return] dns\n"),
        (
            "hosts:\t\tfiles mymachines resolve [!UNAVAIL=return] myhostname dns # x\n",
            "hosts:\t\tfiles mymachines hither [NOTFOUND=return] resolve [!UNAVAIL=return] myhostname dns # x\n",
        ),
        (
            "hosts: files mdns4_minimal [NOTFOUND=return]dns",
            "hosts: files mdns4_minimal [NOTFOUND=return]hither [NOTFOUND=return] dns",
        ),
        (
            "passwd: files\n  hosts:files  \n#hosts: x",
            "passwd: files\n  hosts:files hither [NOTFOUND=return]  \n#hosts: x",
        ),
        ("hosts: files hither dns", "hosts: files hither dns"),
        ("hosts: hither[!UNAVAIL=return] dns", "hosts: hither[!UNAVAIL=return] dns"),
        ("hosts:dns\r\n", "hosts:hither [NOTFOUND=return] dns\r\n"),
    ] {
        assert_eq!(enable(before).as_deref(), Ok(after));
    }
}

#[test]
fn sources_that_know_other_names_than_the_dns_are_still_asked() {
    for (before, after, cut, kept) in [
        ("hosts: files dns", "hosts: files hither [NOTFOUND=return] dns", "dns", ""),
        ("hosts: files dns wins", "hosts: files hither dns wins", "", "wins"),
        ("hosts: files dns mdns4 myhostname", "hosts: files hither dns mdns4 myhostname", "", "mdns4"),
        (
            "hosts: files resolve [!UNAVAIL=return] dns wins",
            "hosts: files hither [NOTFOUND=return] resolve [!UNAVAIL=return] dns wins",
            "resolve dns",
            "",
        ),
        (
            "hosts: files mdns4_minimal [NOTFOUND=return] dns mymachines",
            "hosts: files mdns4_minimal [NOTFOUND=return] hither dns mymachines",
            "",
            "mymachines",
        ),
        (
            "hosts: dns [notfound=RETURN] wins",
            "hosts: hither [NOTFOUND=return] dns [notfound=RETURN] wins",
            "dns",
            "",
        ),
        ("hosts: dns [!NOTFOUND=return] wins", "hosts: hither dns [!NOTFOUND=return] wins", "", "wins"),
        ("hosts: dns [SUCCESS=return] nis", "hosts: hither dns [SUCCESS=return] nis", "", "nis"),
    ] {
        assert_eq!(enable(before).as_deref(), Ok(after));
        let effect = effect_of(before.as_bytes());
        assert_eq!((effect.cut.join(" ").as_str(), effect.kept.join(" ").as_str()), (cut, kept), "{before}");
        assert_eq!(enable(after).as_deref(), Ok(after));
        assert_eq!(disabled(after.as_bytes()), Ok(Some(before.as_bytes().to_vec())));
    }
}

#[test]
fn unreadable_lines_are_refused_with_the_reason() {
    for (text, expected) in [
        ("", "there is no hosts line"),
        ("# hosts: files dns\npasswd: files", "there is no hosts line"),
        ("hosts: files\n\nhosts: dns\n", "lines 1 and 3 are both hosts lines"),
        ("hosts:\n", "line 1: it names no source"),
        ("hosts files dns\n", "line 1: there is no colon"),
        ("hosts : files dns\n", "line 1: there is no colon"),
        ("hosts: [NOTFOUND=return] dns\n", "line 1: actions in brackets"),
        ("hosts: files [NOTFOUND=return] [SUCCESS=merge] dns\n", "line 1: actions in brackets"),
        ("hosts: files [NOTFOUND=return dns\n", "line 1: a bracket is not closed"),
        ("hosts: files \0dns\n", "line 1: it has a NUL"),
        ("hosts: files dns hither\n", "line 1: hither is named after dns"),
    ] {
        let error = enabled(text.as_bytes()).expect_err(text).to_string();
        assert!(error.contains(expected) && error.contains("expected"), "{text:?}: {error}");
    }
    for text in ["hosts: hither\n", "hosts: hither files hither\n"] {
        assert!(disabled(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn words_that_the_operator_added_are_removed_with_their_actions() {
    let disabled = |text: &str| disabled(text.as_bytes()).expect("plain").map(String::from_utf8);
    assert_eq!(
        disabled("hosts: files hither[!UNAVAIL=return]\tresolve dns"),
        Some(Ok("hosts: files resolve dns".to_owned()))
    );
    assert_eq!(disabled("hosts: files dns  hither # end"), Some(Ok("hosts: files dns # end".to_owned())));
    assert_eq!(disabled("hosts: hither dns"), Some(Ok("hosts: dns".to_owned())));
    assert_eq!(disabled("hosts: files dns"), None);
}

fn space() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", " ", "\t", "   ", " \t"]).prop_map(str::to_owned)
}

fn source() -> impl Strategy<Value = String> {
    let names =
        vec!["files", "dns", "resolve", "myhostname", "mymachines", "mdns4_minimal", "nis", "hithers"];
    let actions =
        vec!["", "", " [NOTFOUND=return]", "[!UNAVAIL=return]", "  [ SUCCESS=merge  TRYAGAIN=continue ]"];
    (prop::sample::select(names), prop::sample::select(actions))
        .prop_map(|(name, actions)| format!("{name}{actions}"))
}

fn file() -> impl Strategy<Value = String> {
    let other =
        vec!["passwd: files\n", "\n", "# hosts: no\n", "hostsx: files dns\n", "networks: files # x\n"];
    let others = || prop::collection::vec(prop::sample::select(other.clone()), 0..4);
    let end = vec!["", "\n", " \n", "# comment\n", " # hosts: dns", "\r\n"];
    let sources = prop::collection::vec((source(), prop::sample::select(vec![" ", "\t", "  "])), 1..6);
    (others(), space(), space(), sources, prop::sample::select(end), others()).prop_map(
        |(before, indent, gap, sources, end, after)| {
            let words: String = sources.iter().map(|(source, gap)| format!("{source}{gap}")).collect();
            let after = if end.ends_with('\n') { after.concat() } else { String::new() };
            format!("{}{indent}hosts:{gap}{words}{end}{after}", before.concat())
        },
    )
}

proptest! {
    #[test]
    fn adding_and_removing_gives_the_file_as_it_was(text in file()) {
        let with = enabled(text.as_bytes()).expect("a plain line").expect("a change");
        prop_assert_eq!(disabled(&with).expect("our own").expect("a change"), text.as_bytes());
        prop_assert_eq!(disabled(text.as_bytes()).expect("a plain line"), None);
    }

    #[test]
    fn adding_twice_is_adding_once(text in file()) {
        let with = enabled(text.as_bytes()).expect("a plain line").expect("a change");
        prop_assert_eq!(enabled(&with).expect("our own"), None);
        prop_assert!(is_enabled(&with).expect("our own"));
        let more = with.len() - text.len() - 1;
        prop_assert!(more == WORDS.len() || more == WORDS_OPEN.len());
    }

    #[test]
    fn any_octets_are_read_and_restored(mut text in prop::collection::vec(any::<u8>(), 0..200), odd in prop::collection::vec(prop::sample::select(b"hosts: dnither[]#\n\t\0".to_vec()), 0..80)) {
        text.extend(b"\nhosts:");
        text.extend(odd);
        let _ = shown(&text);
        if let Ok(Some(with)) = enabled(&text) {
            prop_assert_eq!(disabled(&with).expect("our own").expect("a change"), text);
        }
    }
}
