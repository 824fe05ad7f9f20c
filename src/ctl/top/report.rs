//! One report as JSON, for programs and for terminals that cannot be drawn on.

use super::model::Model;
use crate::ctl::entry::rtype;
use serde_json::{Value, json};

/// The view as one object.
pub(super) fn report(model: &Model) -> Value {
    let rates = &model.traffic.rates;
    let (status, daemon_problem) = match &model.daemon.status {
        Some(Ok(status)) => (Some(status), None),
        Some(Err(why)) => (None, Some(why.as_str())),
        None => (None, None),
    };
    let (asked, asked_problem) = match &model.daemon.asked {
        Some(Ok(report)) => (Some(report), None),
        Some(Err(why)) => (None, Some(why.as_str())),
        None => (None, None),
    };
    let (table, table_problem) = match &model.table {
        Ok(table) => (Some(table), table.problem.as_deref()),
        Err(why) => (None, Some(why.as_str())),
    };
    let upstreams = status.iter().flat_map(|status| &status.upstreams).enumerate().map(|(at, own)| {
        json!({
            "address": own.address, "transport": own.transport, "state": own.state, "srtt_us": own.srtt_us,
            "share": model.daemon.shares.get(at).copied().flatten(), "queries": own.queries,
        })
    });
    let changes = model.changes.latest.iter().map(|own| {
        let ago_ms = model.now.since(own.at).as_millis() as u64;
        json!({
            "name": own.name, "type": rtype(own.family), "version": own.version, "change": own.what,
            "ago_ms": ago_ms,
        })
    });
    let lost = model.changes.lost.iter().map(|own| {
        let ago_ms = model.now.since(own.at).as_millis() as u64;
        json!({ "name": own.name, "address": own.address, "ago_ms": ago_ms })
    });
    json!({
        "pid": table.map(|table| table.pid), "entries": table.map(|table| table.entries),
        "table_problem": table_problem, "daemon_problem": daemon_problem,
        "interval_s": model.interval.as_secs_f64(),
        "queries_per_s": rates.queries, "hits_per_s": rates.hits, "hit_share": rates.hit_share,
        "rounds_per_s": rates.rounds_begun, "publishes_per_s": rates.publishes,
        "rounds_open": rates.rounds_open,
        "answer_us": { "p50": rates.p50_us, "p99": rates.p99_us },
        "upstreams": upstreams.collect::<Value>(),
        "asked": asked, "asked_problem": asked_problem,
        "changes": changes.collect::<Value>(), "changes_more": model.changes.unread,
        "unreachable": lost.collect::<Value>(),
    })
}
