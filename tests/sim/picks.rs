//! The choices of a simulated world: every combination in turn, or drawn from a seed.

/// A source of choices.
pub trait Picks {
    /// A number below `n`, which is not 0.
    fn below(&mut self, n: u64) -> u64;
}

/// Every combination of choices, one for each run.
///
/// A run is a number whose digits are its choices. The base of a digit is known once a run has reached it.
#[derive(Default)]
pub struct Exhaustive {
    digits: Vec<(u64, u64)>,
    at: usize,
    pub runs: u64,
}

impl Exhaustive {
    /// Begins the next combination; `false` if there is none.
    pub fn next_run(&mut self) -> bool {
        self.at = 0;
        if self.runs > 0 {
            while let Some((digit, base)) = self.digits.pop() {
                if digit + 1 < base {
                    self.digits.push((digit + 1, base));
                    break;
                }
            }
            if self.digits.is_empty() {
                return false;
            }
        }
        self.runs += 1;
        true
    }

    /// Begins the same combination once more.
    pub fn rewind(&mut self) {
        self.at = 0;
    }
}

impl Picks for Exhaustive {
    fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0);
        if self.at == self.digits.len() {
            self.digits.push((0, n));
        }
        let (digit, base) = self.digits[self.at];
        assert_eq!(base, n, "the world is not the same function of its choices");
        self.at += 1;
        digit
    }
}

/// Choices drawn from a seed, by splitmix64.
pub struct Seeded(pub u64);

impl Picks for Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
