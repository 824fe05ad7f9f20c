//! The program `hither-site`; see `hither::site`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hither::site::run()
}
