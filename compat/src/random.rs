//! Randomness that can be repeated: the seed is printed, and `SPAWNPOINT_SEED` sets it.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::say;

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// With the seed that the environment gives, or a new one.
    #[must_use]
    pub fn new() -> Self {
        let given = std::env::var("SPAWNPOINT_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(0));
        say(&format!("SPAWNPOINT_SEED={seed} repeats these choices"));
        Self(seed)
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end.max(1)
    }

    /// A time between two.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = usize::try_from(self.below(u64::try_from(all.len()).ok()?)).ok()?;
        all.get(index)
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
