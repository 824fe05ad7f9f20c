//! hither
