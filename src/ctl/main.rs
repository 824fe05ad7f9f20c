//! A program of hither.
fn main() {}
