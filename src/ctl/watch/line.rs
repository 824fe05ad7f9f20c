//! A change as `watch` of several names prints it: one line.

use super::runs::Cause;
use crate::ctl::entry::{Entry, rtype};
use crate::ctl::{Context, End};
use hither_client::{Family, Name};
use serde::Serialize;
use std::io::{self, Write};

/// A change, with the entry that the table has after it.
#[derive(Serialize)]
pub(super) struct Line {
    cause: &'static str,
    #[serde(flatten)]
    entry: Option<Entry>,
    #[serde(flatten)]
    missing: Option<Missing>,
}

/// A name of which the table has nothing.
#[derive(Serialize)]
struct Missing {
    name: String,
    #[serde(rename = "type")]
    rtype: &'static str,
    version: u64,
    addresses: [(); 0],
}

impl Line {
    pub fn of(name: &Name, family: Family, cause: Cause, entry: Option<Entry>) -> Line {
        let name = name.to_string();
        let missing = Missing { name, rtype: rtype(family), version: 0, addresses: [] };
        let missing = entry.is_none().then_some(missing);
        Line { cause: cause.as_str(), entry, missing }
    }

    pub fn print(&self, context: &Context, out: &mut impl Write) -> Result<(), End> {
        if context.json {
            serde_json::to_writer(&mut *out, self).map_err(|error| End::from(io::Error::from(error)))?;
            writeln!(out)?;
        } else {
            match (&self.entry, &self.missing) {
                (Some(entry), _) => writeln!(out, "{}", entry.line(self.cause))?,
                (None, Some(Missing { name, rtype, .. })) => {
                    writeln!(out, "{name} {rtype}  {}: not in the table", self.cause)?;
                }
                (None, None) => {}
            }
        }
        Ok(out.flush()?)
    }
}
