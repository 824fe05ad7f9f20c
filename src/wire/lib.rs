//! hither-wire.
