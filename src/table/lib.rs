//! hither-table.
