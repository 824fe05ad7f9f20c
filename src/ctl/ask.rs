//! Verbs that need the daemon.

use super::{Context, End};
use hickory_proto::op::Message;
use hither_client::Name;
use hither_control::{
    CONTROL_SOCKET, MAX_MESSAGE, QueryReport, Request, Response, Status, decode, encode, places,
};
use hither_net::seqpacket::Connection;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// A query ends with its round, and that with its deadline.
const PATIENCE_QUERY: Duration = Duration::from_secs(8);
/// A reload ends when all lists have been read.
const PATIENCE_RELOAD: Duration = Duration::from_secs(55);

fn ask(context: &Context, request: &Request, patience: Duration) -> Result<Response, End> {
    let mut last = None;
    for path in places(&context.dir, CONTROL_SOCKET) {
        match Connection::connect(&path, Some(patience)) {
            Ok(connection) => return converse(&path, &connection, request),
            // Of several places the first is told.
            Err(error) => last.get_or_insert((path, error)),
        };
    }
    let why = last.map_or_else(String::new, |(path, error)| {
        format!("the daemon at '{}' cannot be reached: {error}", path.display())
    });
    Err(End::Failed(why))
}

fn converse(path: &Path, connection: &Connection, request: &Request) -> Result<Response, End> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        End::Failed(format!("the daemon at '{}' {what}: {error}", path.display()))
    };
    let octets = encode(request).map_err(|error| failed("cannot be asked", &error))?;
    connection.send(&octets).map_err(|error| failed("does not listen", &error))?;
    let mut buffer = vec![0; MAX_MESSAGE];
    let octets =
        connection.receive(&mut buffer).map_err(|error| failed("does not answer in time", &error))?;
    match decode(octets).map_err(|error| failed("answers what cannot be read", &error))? {
        Response::Error { message } => Err(End::Failed(message)),
        response => Ok(response),
    }
}

fn unexpected() -> End {
    End::Failed("the daemon answers something else than was asked; is it of another version?".to_owned())
}

fn json(out: &mut impl Write, value: &impl serde::Serialize) -> Result<(), End> {
    serde_json::to_writer(&mut *out, value).map_err(|error| End::from(std::io::Error::from(error)))?;
    Ok(writeln!(out)?)
}

/// How the daemon says it is, or why it says nothing.
pub(super) fn answering(context: &Context) -> Result<Status, String> {
    match ask(context, &Request::Status, PATIENCE) {
        Ok(Response::Status(status)) => Ok(status),
        Err(End::Failed(message)) => Err(message),
        Ok(_) | Err(_) => Err("it answers something else than was asked".to_owned()),
    }
}

pub(super) fn status(context: &Context, out: &mut impl Write) -> Result<End, End> {
    let status = match ask(context, &Request::Status, PATIENCE) {
        Ok(Response::Status(status)) => status,
        Ok(_) => return Err(unexpected()),
        Err(end) => {
            // What the table says of a daemon that says nothing itself.
            if let Ok(table) = context.table() {
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
        json(out, &status)?;
    } else {
        print_status(out, &status)?;
    }
    Ok(End::Done)
}

fn print_status(out: &mut impl Write, status: &Status) -> Result<(), End> {
    writeln!(
        out,
        "daemon     process {}, up {} s, at {}",
        status.pid,
        status.uptime_s,
        status.listen.join(", ")
    )?;
    writeln!(out, "table      {} entries, generation {:016x}", status.entries, status.table_generation)?;
    for problem in &status.problems {
        writeln!(out, "problem    {problem}")?;
    }
    let sorter = &status.sorter;
    match sorter.pid {
        Some(pid) => {
            write!(out, "sorter     process {pid}, {} probes, {} orders", sorter.probes, sorter.orders)?;
            writeln!(
                out,
                "{}",
                sorter.lacks.iter().fold(String::new(), |all, lack| all + ", without " + lack)
            )?;
        }
        None => writeln!(out, "sorter     not connected")?,
    }
    for upstream in &status.upstreams {
        write!(out, "upstream   {:<24} {:<8}", upstream.address, upstream.state)?;
        match upstream.srtt_us {
            Some(micros) => write!(out, " {:>9.3} ms", micros as f64 / 1000.0)?,
            None => write!(out, " {:>12}", "-")?,
        }
        write!(out, "  {} queries, {} answers", upstream.queries, upstream.answers)?;
        if let Some(left) = upstream.retry_in_ms {
            write!(out, ", {} failures, tried again in {left} ms", upstream.failures)?;
        }
        writeln!(out, "{}", if upstream.edns { "" } else { ", without EDNS" })?;
    }
    for file in &status.files {
        if let Some(problem) = &file.problem {
            writeln!(out, "file       {}: {} passed over; {problem}", file.path, file.passed_over)?;
        }
    }
    Ok(())
}

pub(super) fn reload(context: &Context, out: &mut impl Write) -> Result<End, End> {
    match ask(context, &Request::Reload, PATIENCE_RELOAD)? {
        Response::Reloaded if context.json => writeln!(out, "{}", serde_json::json!({ "reloaded": true }))?,
        Response::Reloaded => writeln!(out, "the configuration is reloaded")?,
        _ => return Err(unexpected()),
    }
    Ok(End::Done)
}

pub(super) fn flush(context: &Context, out: &mut impl Write, names: &[Name]) -> Result<End, End> {
    let request = Request::Flush { names: names.iter().map(ToString::to_string).collect() };
    match ask(context, &request, PATIENCE)? {
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
    let Response::Query(report) = ask(context, &request, PATIENCE_QUERY)? else { return Err(unexpected()) };
    let reply = octets(&report.reply).ok_or_else(unexpected)?;
    let read = hither_wire::message::Message::read(&reply)
        .map_err(|error| End::Failed(format!("the reply: {error}")))?;
    let rcode = read.header().rcode();
    let nodata = read.header().ancount == 0 && rcode.0 == 0;
    let records = records(&reply);
    if context.json {
        let object = serde_json::json!({
            "name": name.to_string(), "type": rtype.to_ascii_uppercase(), "rcode": rcode.to_string(),
            "elapsed_us": report.elapsed_us, "from_cache": report.from_cache,
            "answer": records, "attempts": report.attempts,
        });
        writeln!(out, "{object}")?;
    } else {
        print_query(out, &report, &rcode.to_string(), &records)?;
    }
    match rcode.0 {
        3 => Ok(End::DoesNotExist),
        0 if nodata => Ok(End::DoesNotExist),
        0 => Ok(End::Done),
        _ => Err(End::Failed(format!("the reply is {rcode}"))),
    }
}

/// The records in presentation form, as hickory reads them; what it cannot read is named by type and length.
fn records(reply: &[u8]) -> Vec<String> {
    if let Ok(message) = Message::from_vec(reply) {
        return message.answers.iter().chain(&message.authorities).map(ToString::to_string).collect();
    }
    let Ok(message) = hither_wire::message::Message::read(reply) else { return Vec::new() };
    let own = message.records().filter(|record| record.rtype != hither_wire::codes::Rtype::OPT);
    own.map(|r| format!("{} {} {} {} \\# {}", r.owner(), r.ttl, r.class, r.rtype, r.rdata.len())).collect()
}

fn print_query(
    out: &mut impl Write,
    report: &QueryReport,
    rcode: &str,
    records: &[String],
) -> Result<(), End> {
    let ms = |micros: u64| micros as f64 / 1000.0;
    let from = if report.from_cache { "from the cache" } else { "from upstreams" };
    writeln!(out, "{rcode} {from} after {:.3} ms", ms(report.elapsed_us))?;
    for record in records {
        writeln!(out, "    {record}")?;
    }
    for attempt in &report.attempts {
        write!(
            out,
            "{:<24} {} sent at {:>9.3} ms, ",
            attempt.upstream,
            attempt.transport,
            ms(attempt.sent_us)
        )?;
        match attempt.ended_us {
            Some(ended) => write!(out, "{} at {:>9.3} ms", attempt.outcome, ms(ended))?,
            None => write!(out, "{}", attempt.outcome)?,
        }
        let addresses: Vec<String> = attempt.addresses.iter().map(ToString::to_string).collect();
        writeln!(out, "{}{}", if addresses.is_empty() { "" } else { ": " }, addresses.join(", "))?;
    }
    Ok(())
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    hex.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}
