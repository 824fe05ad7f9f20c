//! Verbs that ask the daemon: `status`, `reload`, `flush` and `query`.

use super::{Context, End, present, site};
use hither_client::Name;
use hither_control::{
    CONTROL_SOCKET, FAMILY_WITHHELD, MESSAGE_MAX, QueryReport, Request, Response, SorterState, SourceKind,
    Status, TlsStatus, Transport, UpstreamStatus, counted, decode, encode, socket_paths,
};
use hither_net::seqpacket::Connection;
use hither_wire::edns::EDE;
use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// The timeout of a request that the daemon answers at once.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of a query, which may last as long as a round.
const QUERY_TIMEOUT: Duration = Duration::from_secs(8);
/// The timeout of a reload, which reads all lists.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(55);

pub(super) fn ask(context: &Context, request: &Request, timeout: Duration) -> Result<Response, End> {
    let mut first = None;
    for path in socket_paths(&context.dir, CONTROL_SOCKET) {
        match Connection::connect(&path, Some(timeout)) {
            Ok(connection) => return exchange(&path, &connection, request),
            // The error for the first path is reported.
            Err(error) => first.get_or_insert((path, error)),
        };
    }
    let why = first.map_or_else(String::new, |(path, error)| {
        let hint = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => "; does it run?",
            // The daemon's queue of connections stays full.
            ErrorKind::WouldBlock => "; it does not accept connections and seems to hang",
            _ => "",
        };
        format!("the daemon at '{}' cannot be reached: {error}{hint}", path.display())
    });
    Err(End::Failed(why))
}

fn exchange(path: &Path, connection: &Connection, request: &Request) -> Result<Response, End> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        End::Failed(format!("the daemon at '{}' {what}: {error}", path.display()))
    };
    let octets = encode(request).map_err(|error| failed("cannot get the request", &error))?;
    connection.send(&octets).map_err(|error| failed("does not take the request", &error))?;
    let mut buffer = vec![0; MESSAGE_MAX];
    let octets = connection.receive(&mut buffer).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => failed("does not answer in time", &"it seems to hang"),
        _ => failed("does not answer", &error),
    })?;
    if octets.is_empty() {
        return Err(failed("does not answer", &"it has closed the connection"));
    }
    match decode(octets).map_err(|error| failed("sent an answer that cannot be read", &error))? {
        Response::Error { message } => Err(End::Failed(message)),
        response => Ok(response),
    }
}

pub(super) fn unexpected() -> End {
    End::Failed("the daemon's answer does not fit the request; is it of another version?".to_owned())
}

fn print_json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<(), End> {
    serde_json::to_writer(&mut *out, value).map_err(|error| End::from(std::io::Error::from(error)))?;
    Ok(writeln!(out)?)
}

/// The daemon's status, or the reason why there is none.
pub(super) fn daemon_status(context: &Context) -> Result<Status, String> {
    match ask(context, &Request::Status, TIMEOUT) {
        Ok(Response::Status(status)) => Ok(status),
        Err(End::Failed(message)) => Err(message),
        Ok(_) | Err(_) => Err("its answer does not fit the request".to_owned()),
    }
}

/// The problem with the table among those that hitherd reports.
pub(super) fn table_problem(problems: &[String]) -> Option<&str> {
    problems.iter().map(String::as_str).find(|problem| problem.starts_with("the table "))
}

pub(super) fn status(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let status = match ask(context, &Request::Status, TIMEOUT) {
        Ok(Response::Status(status)) => status,
        Ok(_) => return Err(unexpected()),
        Err(end) => {
            // The table shows whether its daemon is alive.
            if let Ok(table) = context.open() {
                let reader = table.reader();
                let state = if reader.live() { "does not answer" } else { "has stopped" };
                if context.json {
                    writeln!(out, "{}", serde_json::json!({ "pid": reader.writer_pid(), "state": state }))?;
                } else {
                    writeln!(out, "daemon     process {} {state}", reader.writer_pid())?;
                }
            }
            return Err(end);
        }
    };
    if context.json {
        print_json(out, &with_derived(&status)?)?;
    } else {
        print_status(out, &status)?;
    }
    Ok(End::Done)
}

/// The status as JSON, with derived fields: the hit rate, for each upstream that of the whole daemon.
fn with_derived(status: &Status) -> Result<Value, End> {
    let mut value = serde_json::to_value(status).map_err(|error| End::Failed(error.to_string()))?;
    let rate = Value::from(status.hit_rate());
    for upstream in value["upstreams"].as_array_mut().into_iter().flatten() {
        upstream["hit_rate"] = rate.clone();
    }
    value["hit_rate"] = rate;
    Ok(value)
}

fn print_status(out: &mut impl Write, status: &Status) -> Result<(), End> {
    writeln!(
        out,
        "daemon     process {}, up {} s, at {}",
        status.pid,
        status.uptime_s,
        status.listen.join(", ")
    )?;
    let entries = counted(status.entries, "entry", "entries");
    writeln!(out, "table      {entries}, generation {:016x}", status.table_generation)?;
    for problem in &status.problems {
        writeln!(out, "problem    {problem}")?;
    }
    match status.hit_rate() {
        Some(rate) => writeln!(
            out,
            "cache      hit rate {:.0} %: {} of {}",
            rate * 100.0,
            status.hits,
            counted(status.looked_up, "query", "queries")
        )?,
        None => writeln!(out, "cache      no queries yet")?,
    }
    let sorter = &status.sorter;
    match sorter.pid {
        Some(pid) => {
            let probes = counted(sorter.probes, "probe", "probes");
            write!(out, "sorter     process {pid}, {probes}, {}", counted(sorter.orders, "order", "orders"))?;
            writeln!(
                out,
                "{}",
                sorter.lacks.iter().fold(String::new(), |all, own| all + ", without " + own)
            )?;
        }
        None => writeln!(
            out,
            "sorter     {}",
            match sorter.state {
                SorterState::Starting => "starting, not connected yet",
                SorterState::Off => "off: sort.enabled is false",
                _ => "not connected",
            }
        )?,
    }
    if let Some(site) = &status.site {
        site::print(out, site)?;
    }
    if status.feed.subscribers > 0 {
        writeln!(out, "feed       {}", status.feed)?;
    }
    for upstream in &status.upstreams {
        print_upstream(out, upstream)?;
    }
    if status.upstreams_more > 0 {
        writeln!(out, "upstream  {}", more(status.upstreams_more))?;
    }
    for file in &status.files {
        if let Some(problem) = &file.problem {
            let skipped = match file.passed_over {
                0 => String::new(),
                lines => format!("{} passed over; ", counted(lines, "line", "lines")),
            };
            writeln!(out, "file       {}: {skipped}{problem}", file.path)?;
        }
    }
    Ok(())
}

/// The number of elements that were left out of a list.
fn more(number: u64) -> String {
    if number > 0 { format!(" and {number} more") } else { String::new() }
}

fn print_upstream(out: &mut impl Write, upstream: &UpstreamStatus) -> Result<(), End> {
    write!(out, "upstream   {:<24} {:<8}", upstream.address, upstream.state)?;
    match upstream.srtt_us {
        Some(micros) => write!(out, " {:>9.3} ms", micros as f64 / 1000.0)?,
        None => write!(out, " {:>12}", "-")?,
    }
    let queries = counted(upstream.queries, "query", "queries");
    write!(out, "  {queries}, {}", counted(upstream.answers, "answer", "answers"))?;
    if upstream.failures > 0 {
        write!(out, ", {} in a row", counted(upstream.failures.into(), "failure", "failures"))?;
    }
    if let Some(left) = upstream.retry_in_ms {
        match left {
            0 => write!(out, ", tried again with the next query that needs it")?,
            left => write!(out, ", tried again in {left} ms")?,
        }
    }
    writeln!(out, "{}", if upstream.edns { "" } else { ", without EDNS" })?;
    if let Some(tls) = &upstream.tls {
        print_tls(out, tls)?;
    }
    // A daemon of another version may not report it.
    if !upstream.origin.is_empty() {
        let domains = upstream.domains.iter().fold(String::new(), |all, domain| all + " " + domain);
        let more = more(upstream.domains_more);
        let scope = if domains.is_empty() && more.is_empty() {
            String::new()
        } else {
            format!(", for{domains}{more}")
        };
        writeln!(out, "           from {}{scope}", upstream.origin)?;
    }
    Ok(())
}

fn print_tls(out: &mut impl Write, tls: &TlsStatus) -> Result<(), End> {
    let mut parts = Vec::new();
    parts.extend(tls.version.as_ref().map(|version| format!("TLS {version}")));
    if let (Some(state), Some(peer)) = (&tls.connection, &tls.peer) {
        let age = tls.age_ms.map(|ms| format!(" for {:.1} s", ms as f64 / 1e3)).unwrap_or_default();
        parts.push(format!("{state} with {peer}{age}"));
        parts.push(counted(tls.queries, "query on it", "queries on it"));
    } else {
        parts.push("no connection".to_owned());
    }
    let handshakes = counted(tls.handshakes, "handshake", "handshakes");
    parts.push(format!("{handshakes}, {} resumed", tls.resumptions));
    parts.extend(tls.expires.as_ref().map(|at| format!("certificate until {at}")));
    writeln!(out, "           {}", parts.join(", "))?;
    if let Some(problem) = &tls.problem {
        writeln!(out, "           problem: {problem}")?;
    }
    Ok(())
}

pub(super) fn reload(context: &Context, out: &mut impl Write, begun: bool) -> Result<End, End> {
    let request = if begun { Request::ReloadBegun } else { Request::Reload };
    match ask(context, &request, RELOAD_TIMEOUT)? {
        Response::Reloaded if context.json => writeln!(out, "{}", serde_json::json!({ "reloaded": true }))?,
        Response::Reloaded => writeln!(out, "the configuration is reloaded")?,
        _ => return Err(unexpected()),
    }
    Ok(End::Done)
}

pub(super) fn flush(context: &Context, out: &mut impl Write, names: &[Name]) -> Result<End, End> {
    let request = Request::Flush { names: names.iter().map(ToString::to_string).collect() };
    match ask(context, &request, TIMEOUT)? {
        Response::Flushed { entries } if context.json => {
            writeln!(out, "{}", serde_json::json!({ "entries": entries }))?
        }
        Response::Flushed { .. } => {}
        _ => return Err(unexpected()),
    }
    Ok(End::Done)
}

pub(super) fn query(context: &Context, out: &mut impl Write, name: &Name, rtype: &str) -> Result<End, End> {
    let request = Request::Query { name: name.to_string(), rtype: rtype.to_owned() };
    let Response::Query(report) = ask(context, &request, QUERY_TIMEOUT)? else { return Err(unexpected()) };
    let reply = octets(&report.reply).ok_or_else(unexpected)?;
    let read = hither_wire::message::Message::read(&reply)
        .map_err(|error| End::Failed(format!("the reply: {error}")))?;
    let rcode = read.header().rcode();
    let nodata = read.header().ancount == 0 && rcode.0 == 0;
    let records = present::records(&reply);
    let hint = is_withheld(&read, &report).then(|| how_to_allow(name));
    if context.json {
        let object = serde_json::json!({
            "name": name.to_string(), "type": rtype.to_ascii_uppercase(), "rcode": rcode.to_string(),
            "elapsed_us": report.elapsed_us, "from_cache": report.from_cache,
            "source": report.source, "source_detail": report.source_detail,
            "answer": records, "attempts": report.attempts, "hint": hint,
        });
        writeln!(out, "{object}")?;
    } else {
        print_query(out, &report, &rcode.to_string(), &records)?;
        if let Some(hint) = hint {
            writeln!(out, "{hint}")?;
        }
    }
    match rcode.0 {
        3 => Ok(End::DoesNotExist),
        0 if nodata => Ok(End::DoesNotExist),
        0 => Ok(End::Done),
        _ => Err(End::Failed(format!("the reply is {rcode}"))),
    }
}

/// Whether private addresses were withheld: the reply has the error code "Filtered" (RFC 8914), and not
/// because a family is withheld.
fn is_withheld(reply: &hither_wire::message::Message<'_>, report: &QueryReport) -> bool {
    const FILTERED: [u8; 2] = 17_u16.to_be_bytes();
    let is_filtered = |(code, data): (u16, &[u8])| code == EDE && data.get(..2) == Some(&FILTERED[..]);
    let is_of_family =
        report.source_detail.as_ref().is_some_and(|detail| detail.starts_with(FAMILY_WITHHELD));
    !is_of_family && reply.edns().is_some_and(|edns| edns.options().any(is_filtered))
}

fn how_to_allow(name: &Name) -> String {
    let name = name.to_string();
    let name = name.strip_suffix('.').unwrap_or(&name);
    format!(
        "upstreams have only private addresses for it, which are withheld for public names; to allow them, write allow = [\"{name}\"] below [rebinding] in hither.toml(5)"
    )
}

fn print_query(
    out: &mut impl Write,
    report: &QueryReport,
    rcode: &str,
    records: &[String],
) -> Result<(), End> {
    let ms = |micros: u64| micros as f64 / 1000.0;
    writeln!(out, "{rcode} {} after {:.3} ms", source_text(report), ms(report.elapsed_us))?;
    for record in records {
        writeln!(out, "    {record}")?;
    }
    for attempt in &report.attempts {
        // The query may wait for a connection.
        let is_plain = matches!(attempt.transport, Transport::Udp | Transport::Tcp);
        let begun = if is_plain { "sent" } else { "begun" };
        write!(
            out,
            "{:<24} {} {begun} at {:>9.3} ms, ",
            attempt.upstream,
            attempt.transport,
            ms(attempt.sent_us)
        )?;
        if let Some(connected) = attempt.connected_us {
            write!(out, "connected at {:>9.3} ms, ", ms(connected))?;
        }
        match attempt.ended_us {
            Some(ended) => write!(out, "{} at {:>9.3} ms", attempt.outcome, ms(ended))?,
            None => write!(out, "{}", attempt.outcome)?,
        }
        let addresses: Vec<String> = attempt.addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "{}{}", if addresses.is_empty() { "" } else { ": " }, addresses.join(", "))?;
    }
    Ok(())
}

/// The source of the answer in words.
fn source_text(report: &QueryReport) -> String {
    let detail = report.source_detail.as_deref();
    match (&report.source, detail) {
        (SourceKind::Upstream, Some(upstream)) => format!("from upstream {upstream}"),
        (SourceKind::Upstream, None) => "since no upstream gave a usable answer".to_owned(),
        (SourceKind::Stale, _) => "from the cache, expired, since no upstream gave an answer".to_owned(),
        (SourceKind::Restored, _) => "from the saved cache".to_owned(),
        (SourceKind::Site, detail) => {
            format!("from the site, host {},", detail.unwrap_or("that is not known"))
        }
        (SourceKind::Hosts, detail) => format!("from {}", detail.unwrap_or("a hosts file")),
        (SourceKind::Block, detail) => {
            format!("by the block list {}", detail.unwrap_or("that has the name"))
        }
        (SourceKind::Special, detail) => {
            format!("as a special-use name ({})", detail.unwrap_or("a standard"))
        }
        (SourceKind::Failure, detail) => {
            format!("from a failure: {}", detail.unwrap_or("it is cached"))
        }
        // The word of a newer daemon.
        (SourceKind::Other(word), _) if !report.from_cache && !word.is_empty() => format!("from {word}"),
        (SourceKind::Cache, Some(detail)) => format!("from the cache, {detail},"),
        _ if report.from_cache => "from the cache".to_owned(),
        _ => "from upstreams".to_owned(),
    }
}

/// Decodes hexadecimal digits.
fn octets(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    hex.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_withheld_whatever_the_upstream_is_called() {
        // A reply without a question, whose OPT record has the error code 17.
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\x06\0\x0f\0\x02\0\x11";
        let reply = [&b"\0\x01\x81\x80\0\0\0\0\0\0\0\x01"[..], opt].concat();
        let reply = hither_wire::message::Message::read(&reply).expect("readable");
        let said = |detail: String| {
            is_withheld(&reply, &QueryReport { source_detail: Some(detail), ..QueryReport::default() })
        };
        assert!(said("https://family.example/dns-query".into()) && !said(format!("{FAMILY_WITHHELD}: slow")));
    }
}
