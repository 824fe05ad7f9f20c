//! hither-net.
