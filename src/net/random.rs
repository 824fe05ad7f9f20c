//! Unpredictable numbers for ids and ports: ChaCha20, seeded by the kernel (RFC 5452 section 9.2 asks for no less).

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// A generator.
#[derive(Debug)]
pub struct Random(ChaCha20Rng);

impl Random {
    /// A generator with a fresh seed.
    ///
    /// # Errors
    /// If the kernel gives none.
    pub fn new() -> Result<Random, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Random(ChaCha20Rng::from_seed(seed)))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0.next_u64()
    }
}
