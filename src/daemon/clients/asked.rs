//! A query as it was received.

use hither_table::Place;
use hither_wire::query::{Query, Refusal};

/// A query as it was received, and as it was parsed.
pub(crate) struct Asked<'q> {
    pub octets: &'q [u8],
    pub read: Result<Query<'q>, Refusal>,
    /// The place in the table where its answer may be, if it was looked up.
    pub place: Option<Place>,
}

impl<'q> Asked<'q> {
    pub fn read(octets: &'q [u8]) -> Asked<'q> {
        Asked { octets, read: Query::read(octets), place: None }
    }
}
