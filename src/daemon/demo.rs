//! To be written.
pub(super) fn run() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
