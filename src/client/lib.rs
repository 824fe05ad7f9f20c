//! hither-client.
