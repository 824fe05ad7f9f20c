//! The program `hither-sorter`; see `hither::sorter`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hither::sorter::run()
}
