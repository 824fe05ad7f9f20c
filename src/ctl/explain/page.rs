//! An explanation as a page of text. What comes from outside cannot control the terminal.

use super::askers;
use crate::ctl::entry::certificate_text;
use hither_control::{
    AddressProbes, AddressReport, AttemptReport, CertificateReport, Explanation, NextReport, ProbeReport,
    RoundReport, SetReport, SourceKind, Transport, VersionReport, counted,
};
use std::fmt::Write as _;

/// The whole page.
pub(super) fn page(known: &Explanation) -> String {
    let mut page = head(known);
    if known.versions_earlier > 0 || !known.versions.is_empty() {
        page += "versions\n";
    }
    if known.versions_earlier > 0 {
        let at_least = if known.versions_earlier_or_more { "at least " } else { "" };
        let are = if known.versions_earlier == 1 { "is" } else { "are" };
        let versions = counted(known.versions_earlier, "earlier version", "earlier versions");
        let _ = writeln!(page, "    {at_least}{versions} {are} not shown");
    }
    for version in &known.versions {
        page += &version_line(version);
    }
    if let Some(round) = &known.round {
        page += &round_lines(round);
    } else if known.set.is_some() {
        page += "round\n    its attempts are no longer kept\n";
    }
    if !known.addresses.is_empty() {
        let _ = writeln!(page, "addresses{}", sorter_text(&known.sorter));
    }
    for address in &known.addresses {
        page += &address_lines(address, known.set.as_ref());
    }
    if known.addresses_more > 0 {
        let _ = writeln!(page, "    and {}", counted(known.addresses_more, "more address", "more addresses"));
    }
    page + &next_lines(&known.next) + &askers::lines(&known.asked_by)
}

fn head(known: &Explanation) -> String {
    let mut line = format!("{} {}: ", clean(&known.name), clean(&known.rtype));
    line += &source_text(known);
    let Some(set) = &known.set else { return line + "\n" };
    let _ = write!(line, "; version {}, {}", set.version, state_text(&set.state));
    for (is_so, word) in [(set.sorted, "sorted"), (set.stale, "expired")] {
        if is_so {
            line = line + ", " + word;
        }
    }
    if let Some(negative) = &set.negative {
        line = line + ", " + &clean(negative);
    }
    line.push('\n');
    if !set.disputes.is_empty() {
        let _ = write!(line, "    upstreams disagree: {}", listed(&set.disputes));
        if !set.dissenters.is_empty() {
            let _ = write!(line, ", by {}", listed(&set.dissenters));
        }
        line.push('\n');
    }
    line
}

/// The source of the answer that a client gets, in words.
fn source_text(known: &Explanation) -> String {
    let detail = known.source_detail.as_deref().map(clean);
    let or = |text: &str| detail.clone().unwrap_or_else(|| text.to_owned());
    match &known.source {
        None => "a query begins a round".to_owned(),
        Some(SourceKind::Cache) => format!("from the cache, {}", or("by a round")),
        Some(SourceKind::Stale) => "from the cache, expired, while no upstream answers".to_owned(),
        Some(SourceKind::Restored) => "from the saved cache".to_owned(),
        Some(SourceKind::Site) => format!("from the site: host {}", or("that is not known")),
        Some(SourceKind::Hosts) => format!("from {}", or("a hosts file")),
        Some(SourceKind::Block) => format!("by the block list {}", or("that has the name")),
        Some(SourceKind::Special) => format!("as a special-use name ({})", or("a standard")),
        Some(SourceKind::Failure) => format!("from a failure: {}", or("it is cached")),
        Some(other) => format!("from {}", clean(other.as_str())),
    }
}

/// How far the round had come, in words.
fn state_text(state: &str) -> String {
    match state {
        "first" => "more to come".to_owned(),
        "partial" => "what came in time".to_owned(),
        other => clean(other),
    }
}

/// What the sorter said, in words.
fn sorter_text(sorter: &str) -> String {
    let did = match sorter {
        "" => return String::new(),
        "answered" => "",
        "not connected" => "is ",
        "not asked" => "was ",
        _ => "gave ",
    };
    format!(" (the sorter {did}{})", clean(sorter))
}

fn version_line(version: &VersionReport) -> String {
    // When a daemon before this one published the version, is not known.
    let is_old = version.cause == "taken_over";
    let ago = if is_old { String::new() } else { format!("{} ago", span(version.ago_ms)) };
    let mut line = format!("    {:<10} {ago:>16}  ", version.version);
    line += &cause_text(version);
    let removed = matches!(version.cause.as_str(), "flushed" | "voided" | "replaced" | "displaced");
    if !removed {
        let (state, lifetime) = (state_text(&version.state), span(version.lifetime_ms));
        let _ = match is_old {
            true => write!(line, ", {state}, expires {}", when(version.lifetime_ms)),
            false => write!(line, ", {state}, expires {lifetime} later"),
        };
    }
    if let Some(negative) = &version.negative {
        let _ = write!(line, ", {}", clean(negative));
    }
    if !version.addresses.is_empty() {
        let _ = write!(line, ": {}", addresses(&version.addresses, version.addresses_more));
    }
    line + "\n"
}

fn cause_text(version: &VersionReport) -> String {
    let text = match version.cause.as_str() {
        "first_answer" => "the first answer of a round",
        "refreshed" => "refreshed before it expired",
        "merged" => "a further upstream gave more addresses",
        "confirmed" => "a further upstream confirmed addresses or shortened the lifetime",
        "corrected" => "an answer replaced a denial",
        "denied" => "upstreams denied it",
        "withheld" => "only private addresses, withheld",
        "ended" if version.state == "complete" => {
            "the round ended after every upstream had responded or failed"
        }
        "ended" => "the round ended before every upstream had responded or failed",
        "ordered" => "an order of the sorter was applied",
        "judged" => "certificates were judged",
        "restored" => "restored from the saved cache",
        "shared" => "another host of the site has learned it",
        "taken_over" => "taken over from the daemon before this one",
        "flushed" => "flushed by an operator",
        "voided" => "removed: other upstreams, lists or settings apply",
        "replaced" => "removed: another kind of answer took its place",
        "displaced" => "removed: the other family left no space",
        other => return clean(other),
    };
    text.to_owned()
}

fn round_lines(round: &RoundReport) -> String {
    let mut lines = format!("round {}, begun {} ago, ", round.round, span(round.began_ms_ago));
    match round.lasted_us {
        Some(lasted) => {
            let _ = writeln!(lines, "{} after {}", clean(&round.end), ms(lasted));
        }
        None => lines += "which is live\n",
    }
    if let Some(site) = &round.site {
        let outcome = clean(&site.outcome.replace('_', " "));
        let ended = site.ended_us.map(|at| format!(" at {}", ms(at))).unwrap_or_default();
        let _ =
            writeln!(lines, "    the site                 asked at {}, {outcome}{ended}", ms(site.asked_us));
    }
    for attempt in &round.attempts {
        lines += &attempt_lines(attempt);
    }
    if round.attempts_more > 0 {
        let _ = writeln!(lines, "    and {}", counted(round.attempts_more, "more attempt", "more attempts"));
    }
    lines
}

fn attempt_lines(attempt: &AttemptReport) -> String {
    let is_plain = matches!(attempt.transport, Transport::Udp | Transport::Tcp);
    let begun = if is_plain { "sent" } else { "begun" };
    let (upstream, transport) = (clean(&attempt.upstream), clean(attempt.transport.as_str()));
    let mut lines = format!("    {upstream:<24} {transport} {begun} at {}, ", ms(attempt.sent_us));
    if let Some(connected) = attempt.connected_us {
        let _ = write!(lines, "connected at {}, ", ms(connected));
    }
    lines += &clean(&attempt.outcome);
    if let Some(ended) = attempt.ended_us {
        let _ = write!(lines, " at {}", ms(ended));
    }
    if let Some(version) = attempt.published {
        let _ = write!(lines, ", published as version {version}");
    }
    if !attempt.addresses.is_empty() {
        let _ = write!(lines, ": {}", addresses(&attempt.addresses, attempt.addresses_more));
    }
    lines.push('\n');
    for refusal in &attempt.refused {
        let responses = counted(refusal.count.into(), "response", "responses");
        let some = counted(refusal.count.into(), "address", "addresses");
        let text = match refusal.why.as_str() {
            "late" => format!("{responses} after the end of the attempt"),
            "other_id" => format!("{responses} with another id"),
            "other_question" => format!("{responses} to another question"),
            "no_question" => format!("{responses} without a question"),
            "letter_case" => format!("{responses} in another letter case"),
            "cookie" => format!("{responses} without our cookie"),
            "unreadable" => format!("{responses} that cannot be read"),
            "private" => format!("{some} of private networks, for a public name"),
            "left_out" => format!("{some} more than a reply holds, or that expire too soon"),
            other => format!("{} {}", refusal.count, clean(other)),
        };
        let first = refusal.address.map(|address| format!(": {address}")).unwrap_or_default();
        let _ = writeln!(lines, "        refused at {}: {text}{first}", ms(refusal.last_us));
    }
    lines
}

fn address_lines(known: &AddressReport, set: Option<&SetReport>) -> String {
    let time = match (known.reachable, known.rtt_us) {
        (Some(true), Some(micros)) => ms(micros.into()),
        (Some(false), _) => "not reachable".to_owned(),
        _ => "not measured".to_owned(),
    };
    let mut lines = format!("    {:>2}. {:<39} {time}", known.position, clean(&known.address));
    if let Some(certificate) = certificate_text(&known.trust) {
        let _ = write!(lines, ", {}", clean(&certificate));
    }
    lines.push('\n');
    let _ = writeln!(lines, "        {}", clean(&known.why));
    let answered = set.map_or(0, |set| set.answered);
    if known.sources > 0 && answered > 0 {
        let _ = write!(lines, "        given by {} of {answered} upstreams that answered", known.sources);
        let by =
            if known.given_by.is_empty() { String::new() } else { format!(": {}", listed(&known.given_by)) };
        let _ = writeln!(lines, "{by}");
    } else if !known.given_by.is_empty() {
        let _ = writeln!(lines, "        given by {}", listed(&known.given_by));
    }
    if let Some(said) = &known.sorter {
        lines += &sorter_lines(said);
    }
    lines
}

fn sorter_lines(said: &AddressProbes) -> String {
    let mut lines = String::new();
    for probe in &said.probes {
        lines += &probe_line(probe);
    }
    if let Some(why) = &said.passed_over {
        let _ = writeln!(lines, "        not probed: {}", clean(why));
    }
    if said.samples > 0 {
        let samples = counted(said.samples.into(), "sample", "samples");
        let next = said.next_in_ms.map(|next| format!(", the next one {}", when(next))).unwrap_or_default();
        let _ = writeln!(lines, "        {samples}, of which the median counts{next}");
    }
    if let Some(certificate) = &said.certificate {
        lines += &certificate_line(certificate);
    }
    lines
}

fn probe_line(probe: &ProbeReport) -> String {
    let (method, result) = (clean(&probe.method), clean(&probe.result).replace('_', " "));
    let mut line = format!("        {method:<8} {} of {} answered", probe.answered, probe.sent);
    if let Some(micros) = probe.rtt_us {
        let _ = write!(line, ", the latest after {}", ms(micros.into()));
    }
    let _ = writeln!(line, "; {} ago: {result}", span(probe.ago_ms));
    line
}

fn certificate_line(certificate: &CertificateReport) -> String {
    let problem = certificate.problem.as_deref().map(clean);
    let mut line = match (certificate.verdict.as_str(), &problem) {
        ("no_tls", Some(problem)) => format!("        no certificate: {problem}"),
        (verdict, _) => format!("        certificate {}", clean(verdict).replace('_', " ")),
    };
    if !certificate.names.is_empty() {
        let more = match certificate.names_more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let _ = write!(line, ", for {}{more}", listed(&certificate.names));
    }
    for (word, date) in [("from", &certificate.not_before), ("until", &certificate.not_after)] {
        if let Some(date) = date {
            let _ = write!(line, ", {word} {}", clean(date));
        }
    }
    if let Some(problem) = problem.filter(|_| certificate.verdict != "no_tls") {
        let _ = write!(line, ", {problem}");
    }
    let _ = write!(line, "; seen {} ago", span(certificate.ago_ms));
    if let Some(renewal) = certificate.renewal_in_ms {
        let _ = write!(line, ", again {}", when(renewal));
    }
    line + "\n"
}

fn next_lines(next: &NextReport) -> String {
    let of = |text: &str, due: Option<u64>| due.map(|due| format!("{text} {}", when(due)));
    let parts = [
        of("the round ends at the latest", next.deadline_in_ms),
        match next.refresh_in_ms {
            Some(0) if next.expiry_in_ms > Some(0) => Some("the next query refreshes it".to_owned()),
            Some(0) => None,
            due => of("queries refresh it", due),
        },
        match next.expiry_in_ms {
            Some(0) => Some("it has expired".to_owned()),
            due => of("it expires", due),
        },
        match next.stale_until_in_ms {
            None | Some(0) => None,
            Some(due) => Some(format!("if no upstream answers it is served for {} from now", span(due))),
        },
        of("the next sample of an address", next.sample_in_ms),
        of("the next look at a certificate", next.certificate_in_ms),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { String::new() } else { format!("next\n    {}\n", parts.join("\n    ")) }
}

fn listed(all: &[String]) -> String {
    all.iter().map(|one| clean(one)).collect::<Vec<_>>().join(", ")
}

fn addresses<T: ToString>(all: &[T], more: u64) -> String {
    let text = all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// A text without characters that a terminal would obey: what a certificate says is its owner's choice.
pub(in crate::ctl) fn clean(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c);
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

fn ms(micros: u64) -> String {
    format!("{:.3} ms", micros as f64 / 1000.0)
}

/// When something is due.
fn when(in_ms: u64) -> String {
    if in_ms == 0 { "now".to_owned() } else { format!("in {}", span(in_ms)) }
}

/// A time in the unit that fits it.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=119_999 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..=7_199_999 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::explain::tests::known;

    #[test]
    fn a_page_says_what_is_not_shown_and_obeys_no_certificate() {
        let page = page(&known());
        for line in [
            "    2 earlier versions are not shown\n",
            "refused at 0.000 ms: 2 responses after the end of the attempt\n",
            "icmp     14 of 16 answered, the latest after 8.120 ms; 0 ms ago: \n",
            "certificate other name, for evil\\u{1b}[2J.example and 3 more, until 2027-01-01T00:00:00Z;",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page:?}");
        let unsure = Explanation { versions_earlier: 1, versions_earlier_or_more: true, ..known() };
        assert!(self::page(&unsure).contains("    at least 1 earlier version is not shown\n"));
    }

    #[test]
    fn times_have_the_unit_that_fits_them() {
        let all = [0, 999, 1500, 119_999, 120_000, 7_200_000, 90_000_000].map(span);
        assert_eq!(all, ["0 ms", "999 ms", "1.5 s", "120.0 s", "2 min 0 s", "2 h 0 min", "25 h 0 min"]);
    }
}
