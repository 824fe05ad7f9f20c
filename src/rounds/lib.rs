//! hither-rounds.
