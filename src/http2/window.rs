//! The window for what the server sends (RFC 9113, section 6.9).

use crate::error::Error;

/// Octets that the server may still send, and those that it may send again.
#[derive(Debug)]
pub struct Window {
    size: u32,
    left: u32,
    /// Octets that we no longer hold, but have not returned to the server.
    freed: u32,
}

impl Window {
    /// A window of `size` octets, which the server knows of.
    pub fn new(size: u32) -> Self {
        Self { size, left: size, freed: 0 }
    }

    /// Counts octets that have arrived.
    ///
    /// # Errors
    /// [`Error::Window`] if the server had to wait for more of the window.
    pub fn take(&mut self, octets: u32) -> Result<(), Error> {
        self.left = self.left.checked_sub(octets).ok_or(Error::Window)?;
        Ok(())
    }

    /// Counts octets that have been taken and are no longer held. Returns the increment for a
    /// WINDOW_UPDATE once a quarter of the window can be returned.
    #[must_use]
    pub fn free(&mut self, octets: u32) -> Option<u32> {
        self.freed += octets;
        debug_assert!(self.freed + self.left <= self.size, "no octet is freed twice");
        (self.freed >= self.size / 4).then(|| {
            self.left += self.freed;
            std::mem::take(&mut self.freed)
        })
    }
}
