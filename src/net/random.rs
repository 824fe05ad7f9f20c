//! Unpredictable numbers for query ids and ports: ChaCha20, seeded by the kernel, as RFC 5452, section
//! 9.2, requires.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// A cryptographically secure generator of random numbers.
#[derive(Debug)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// A generator with a fresh seed.
    ///
    /// # Errors
    /// If the kernel gives no random octets.
    pub fn new() -> Result<Random, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Random(ChaCha20Rng::from_seed(seed)))
    }

    /// The next unpredictable number.
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }
}
