use crate::config::check_text;

fn load(text: &str) -> Result<(), String> {
    check_text(text).map(drop).map_err(|error| error.to_string())
}

/// Texts that are not valid TOML or have another shape, each with a part of the message.
const SLIPS: &[(&str, &str)] = &[
    ("[[upstream]]\naddress = 1.1.1.1\n", "write address = \"1.1.1.1\", in quotes"),
    ("[[upstream]]\naddress = 1.1.1.1:53 # one\n", "write address = \"1.1.1.1:53\", in quotes"),
    ("[[upstream]]\naddress = 2001:db8::1\n", "write address = \"2001:db8::1\", in quotes"),
    ("[[upstream]]\naddress = [2001:db8::1]:53\n", "write address = \"[2001:db8::1]:53\", in quotes"),
    (
        "[[upstream]]\naddress = dns.example\n",
        "address: 'dns.example' is not accepted; expected a text in quotes",
    ),
    ("[listen]\ndns = [127.0.0.1:53]\n", "write dns = [\"127.0.0.1:53\"], each in quotes"),
    ("[listen]\ndns = 127.0.0.1, ::1\n", "write dns = [\"127.0.0.1\", \"::1\"], each in quotes"),
    ("[listen]\ndns = [\n  \"127.0.0.1\",\n  ::1,\n]\n", ":4:3: write \"::1\", in quotes"),
    ("[listen]\ndns = [\n  [::1]:53\n]\n", "write \"[::1]:53\", in quotes"),
    ("[cache]\nmin_ttl = 60s\n", "write min_ttl = \"60s\", in quotes"),
    ("[cache]\nmin_ttl = 60x\n", "min_ttl: '60x' is not accepted; expected a number with a unit"),
    ("cache.min_ttl = 60s\n", "write cache.min_ttl = \"60s\", in quotes"),
    ("[cache]\nprefetch = yes\n", "write prefetch = true"),
    ("[cache]\nprefetch = True\n", "write prefetch = true"),
    ("[cache]\nprefetch = maybe\n", "write true or false"),
    ("[cache]\nprefetch =\n", "no value is given for prefetch; write true or false"),
    ("[cache]\nprefetch: true\n", "write prefetch = true"),
    ("[table]\nentries = 64k\n", "entries: '64k' is not accepted; expected a whole number in digits"),
    ("[[block]]\nnames = [ads.example]\n", "write names = [\"ads.example\"], each in quotes"),
    ("[[block]]\nanswer = nxdomain\n", "write answer = \"nxdomain\", each in quotes"),
    ("[[block]]\nfiles = [/etc/list]\n", "write files = [\"/etc/list\"], each in quotes"),
    ("[[block]]\nnames = [\"a.test\" \"b.test\"]\n", "expected a comma between"),
    ("[[block]]\nnames = [\"a.test\",\nanswer = \"nodata\"\n", "and ] after the last"),
    ("[[block]]\nnames = [\"a.test\",\n[[upstream]]\naddress = \"192.0.2.1\"\n", "and ] after the last"),
    ("[[block]]\nnames = [“a.test”]\n", "write names = [\"a.test\"]"),
    ("[[block]]\nfiles = [\"C:\\list\"]\n", "begins an escape"),
    ("[[upstream]]\naddress = \"1.1.1.1\n", "the closing quote is missing; write address = \"1.1.1.1\""),
    ("[[upstream]]\naddress \"1.1.1.1\"\n", "write address = \"1.1.1.1\""),
    ("[[upstream]]\naddress == \"1.1.1.1\"\n", "write address = \"1.1.1.1\""),
    ("[[upstream]]\naddress = \"1.1.1.1\", \"8.8.8.8\"\n", "write [[upstream]] and address again for each"),
    ("[[upstream]]\naddress = \"1.1.1.1\";\n", "nothing may follow the value of address on its line"),
    ("[[upstream]\naddress = \"1.1.1.1\"\n", "write [[upstream]] on a line of its own"),
    ("[upstream]]\n", "write [[upstream]] on a line of its own"),
    ("[round\n", "write [round] on a line of its own"),
    ("[[upstream]] address = \"1.1.1.1\"\n", "the text after [[upstream]] belongs on the next line"),
    (
        "[[upstream]]\naddress\u{a0}=\u{a0}\"192.0.2.1\"\n",
        ":2:8: \\u{a0} is not a space in TOML; write a plain one",
    ),
    ("[odd\n", "a section is written [name]"),
    ("; a comment\n", "a comment begins with #"),
    ("// a comment\n", "a comment begins with #"),
    ("\u{0}\n", "this is not understood; expected key = value"),
    ("[log]\rlevel = \"info\"\r", "the lines end in CR alone"),
    ("upstreams = [\"1.1.1.1\"]\n", "write [[upstream]], and below it address = \"1.1.1.1\""),
    ("[[upstreams]]\naddress = \"1.1.1.1\"\n", ":1:3: unknown section 'upstreams'; write [[upstream]]"),
    ("[Cache]\n", "unknown section 'Cache'; write [cache]"),
    ("[cache]\nmin_ttl = -1\n", "expected a number with a unit"),
    ("[log]\nlevel = 3\n", "expected a text in quotes"),
    ("[[upstream]]\naddress = 1\n", "expected a text in quotes"),
    ("[round]\nfirst = 99999999999999999999\n", "is out of range; expected a whole number from 1"),
    ("[[domain]]\nupstreams = [\"192.0.2.1\"]\n", "lacks names: write names = [\"example.com\"]"),
];

#[test]
fn errors_of_syntax_are_explained_by_the_line_itself() {
    for (text, expected) in SLIPS {
        let error = load(text).expect_err(text);
        assert!(error.contains(expected), "{text:?} gave {error}");
        for word in ["literal", "i64", "`", "invalid"] {
            assert!(!error.contains(word), "{text:?} gave {error}");
        }
        if let Some(line) = suggested(&error) {
            let right = with_line(text, &error, &line);
            let still = load(&right).err().filter(|still| still.lines().next() == error.lines().next());
            assert_eq!(still, None, "{text:?}: {line}");
            if let Err(other) = load(&right) {
                assert!(other.contains("lacks") || other.contains("belongs"), "{right:?} gave {other}");
            }
        }
    }
}

/// The line that a message suggests, if it suggests one.
fn suggested(error: &str) -> Option<String> {
    let line = error.lines().next()?.split("write ").nth(1)?;
    let line = line.trim_end_matches(", in quotes").trim_end_matches(", each in quotes");
    let line = line.trim_end_matches(", with its unit").trim_start_matches("a list, ");
    line.split_once(" = ").filter(|(key, _)| !key.contains(' ')).map(|_| line.to_owned())
}

/// The text with `line` in place of the line with the error, or after it if that one begins a section.
fn with_line(text: &str, error: &str, line: &str) -> String {
    let number: usize = error.split(':').nth(1).and_then(|number| number.parse().ok()).expect("a line");
    let mut lines: Vec<&str> = text.lines().collect();
    match lines[number - 1].starts_with('[') {
        true => lines.insert(number, line),
        false => lines[number - 1] = line,
    }
    lines.join("\n")
}
