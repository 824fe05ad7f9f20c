//! hither-control.
