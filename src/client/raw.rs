//! A question to the kernel.
#![allow(unsafe_code)]

/// Whether the program has more rights than the user who started it, so that its environment is not to be
/// trusted (`AT_SECURE`, see getauxval(3)).
pub(crate) fn is_secure() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
