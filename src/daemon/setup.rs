//! What the daemon is made of before its loop begins: the table, the upstreams; and what it says of them.

use super::system;
use crate::config::Config;
use hither_net::random::Random;
use hither_rounds::Note;
use hither_table::{Geometry, Origin, Writer, open_or_create, rotate};
use std::net::SocketAddr;
use std::path::Path;

/// The table: a predecessor's, or a new one.
pub(super) fn table(
    config: &Config,
    dir: &Path,
    random: &mut Random,
) -> Result<(Writer, Box<dyn std::any::Any>), String> {
    #[allow(clippy::disallowed_methods)] // Once, to begin versions above those of a table that was lost.
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seeds = [random.draw(), random.draw(), random.draw()];
    let geometry = Geometry { entries: config.table_entries };
    let opened = open_or_create(dir, &geometry, config.table_mode, seeds, wall.as_secs());
    let (writer, origin, lock) = opened.map_err(|error| format!("there is no table: {error}"))?;
    match origin {
        Origin::Created => {
            log::info!("a new table for {} names is in '{}'", config.table_entries, dir.display())
        }
        Origin::Adopted => {
            log::info!("the table in '{}' is taken over: about {} entries", dir.display(), writer.entries());
        }
        Origin::Resized => {
            log::info!(
                "the table in '{}' had another size: a new one for {} names takes its entries over",
                dir.display(),
                config.table_entries
            );
        }
        Origin::Replaced { why } => {
            log::warn!("the table that was in '{}' is replaced by a new one: {why}", dir.display())
        }
    }
    Ok((writer, Box::new(lock)))
}

/// Puts a table of the configured size in the place of the one in use.
pub(super) fn resize(config: &Config, dir: &Path, writer: &mut Writer) -> Result<(), String> {
    let mut random = Random::new().map_err(|error| format!("the kernel gives no random numbers: {error}"))?;
    let seeds = [random.draw(), random.draw(), random.draw()];
    let geometry = Geometry { entries: config.table_entries };
    rotate(writer, dir, &geometry, config.table_mode, seeds).map_err(|error| error.to_string())
}

/// The upstreams that are configured, or else those of the system, ourselves left out.
pub(super) fn upstreams(config: &Config, ourselves: &[SocketAddr]) -> Vec<SocketAddr> {
    if config.upstreams.is_empty() {
        let found = system::upstreams(Path::new("/etc/resolv.conf"), ourselves);
        if found.is_empty() {
            log::warn!(
                "no upstream is configured and /etc/resolv.conf names none but ourselves: every question is answered SERVFAIL"
            );
        }
        return found;
    }
    let (ours, others): (Vec<_>, Vec<_>) =
        config.upstreams.iter().partition(|upstream| system::is_ours(upstream, ourselves));
    ours.iter().for_each(|upstream| log::error!("the upstream {upstream} is ourselves; going on without it"));
    others
}

/// What the operator is to know.
pub(super) fn tell(note: &Note) {
    match note {
        Note::UpstreamDown { address, failures, .. } => {
            log::warn!(
                "upstream {address} has failed {failures} times in a row; asking the others, and it again from time to time"
            );
        }
        Note::UpstreamUp { address } => log::info!("upstream {address} answers again"),
        Note::NoEdns { address } => {
            log::info!("upstream {address} cannot do EDNS; asking it without for a while")
        }
        Note::NotStored { reason } => {
            log::warn!("an answer could not be stored: {reason}; its clients were told SERVFAIL")
        }
    }
}
