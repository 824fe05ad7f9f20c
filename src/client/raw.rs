//! Whether the environment of this process can be trusted, which no safe function says.
#![allow(unsafe_code)]

/// Whether the program has more rights than the user who started it, so that its environment must not
/// be trusted (`AT_SECURE`, see getauxval(3)).
pub(crate) fn has_raised_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}
