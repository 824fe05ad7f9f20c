//! The program `hitherctl`; see `hither::ctl`.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    hither::ctl::run(Some(hither::ctl::View::ON_TERMINAL))
}
