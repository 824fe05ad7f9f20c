//! `metrics`: what the table says of the daemon, for Prometheus and Grafana. Nothing is asked of the
//! daemon, so this works while it hangs.

mod catalogue;
mod gather;
mod http;
mod recorded;
mod request;
mod text;

use super::{Context, End, remark, why_no_table};
use hither_client::{OpenError, Reader, Table};
use std::fs::{OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
pub(super) use text::Format;
use text::Text;

/// Where the metrics go.
pub(super) enum Target<'a> {
    /// To standard output.
    Output(Format),
    /// To a file, for the textfile collector of node_exporter.
    File(&'a Path),
    /// To the client of the socket that is standard input.
    Client,
}

pub(super) fn metrics(context: &Context, out: &mut impl Write, target: &Target<'_>) -> Result<End, End> {
    if context.json {
        let message = "metrics are not written as JSON; 'hitherctl stats --json' has the counters";
        return Err(End::Failed(message.to_owned()));
    }
    match target {
        Target::Output(format) => {
            out.write_all(text_of(context, *format)?.as_bytes())?;
        }
        Target::File(path) => {
            let text = text_of(context, Format::Prometheus)?;
            replace(path, text.as_bytes()).map_err(|error| {
                End::Failed(format!("'{}' cannot be replaced: {error}; it is unchanged", path.display()))
            })?;
        }
        Target::Client => {
            let answered = http::serve(|format| {
                text_of(context, format).map_err(|end| {
                    let End::Failed(reason) = end else { return String::new() };
                    remark(&reason);
                    reason
                })
            });
            answered.map_err(|error| {
                End::Failed(format!("standard input is no connection of a client: {error}"))
            })?;
        }
    }
    Ok(End::Done)
}

/// The whole text. That there is no table is a fact about hither: its service has stopped, and the
/// text says so. That the table may not be read is a fact about the reader, and an error.
fn text_of(context: &Context, format: Format) -> Result<String, End> {
    let mut text = Text::new(format);
    match open(&context.dir) {
        Ok(table) => gather::running(&mut text, &table),
        Err(OpenError::Io(error)) if error.kind() == ErrorKind::NotFound => gather::stopped(&mut text),
        Err(error) => return Err(End::Failed(why_no_table(context, &error))),
    }
    Ok(text.finish())
}

fn open(dir: &Path) -> Result<Reader, OpenError> {
    Ok(Table::open_any_network(Some(dir))?.reader())
}

/// Replaces a file at once, readable for all: node_exporter runs as another user, and must not see a
/// part of it. The directory is not synchronized: the next scrape replaces the file again.
fn replace(path: &Path, octets: &[u8]) -> io::Result<()> {
    // A rename would also replace a device such as /dev/stdout, or the link to another file.
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let new = super::files::beside(path, &format!(".{}", std::process::id()));
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new);
    let created = create().or_else(|error| {
        if error.kind() != ErrorKind::AlreadyExists {
            return Err(error);
        }
        // An earlier process with this number was killed.
        std::fs::remove_file(&new)?;
        create()
    });
    let written = created.and_then(|mut file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(octets)?;
        std::fs::rename(&new, path)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// The headings of hither-metrics(7), for the test of the manual.
pub(super) fn headings() -> Vec<String> {
    catalogue::ALL.iter().map(|metric| metric.heading()).collect()
}
