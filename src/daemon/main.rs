//! See `hither::daemon`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hither::daemon::run()
}
