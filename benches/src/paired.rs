//! Measuring two things in turn, A B A B, so that whatever else the machine does falls on both.
//!
//! Entry point: [`alternate`]; [`Samples`] and [`Rates`] for what is measured another way.

use std::fmt;
use std::time::{Duration, Instant};

/// Rounds that are run first and not counted.
const WARM_UPS: usize = 3;

/// Times of one thing.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Runs `work`, adds the time that it took, and gives its result.
    #[expect(clippy::disallowed_methods, reason = "elapsed time is what a benchmark is about")]
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = std::hint::black_box(work());
        self.0.push(start.elapsed());
        result
    }

    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.percentile(0.5)
    }

    /// The one that a `share` of all is below: 0.99 for the 99th percentile.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * share) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// How many times as long as `other` this takes, by the medians.
    #[must_use]
    pub fn ratio(&self, other: &Self) -> f64 {
        self.median().as_secs_f64() / other.median().as_secs_f64()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} to {})",
            text(self.median()),
            text(self.percentile(0.0)),
            text(self.percentile(1.0))
        )
    }
}

/// A duration with a unit that suits it.
#[must_use]
pub fn text(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros < 1000.0 { format!("{micros:.1} µs") } else { format!("{:.2} ms", micros / 1000.0) }
}

/// How many of something a second, round for round.
#[derive(Clone, Debug, Default)]
pub struct Rates(Vec<f64>);

impl Rates {
    /// Adds a round.
    pub fn add(&mut self, rate: f64) {
        self.0.push(rate);
    }

    /// The middle one.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.sorted().get(self.0.len() / 2).copied().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        let (least, most) = (sorted.first().unwrap_or(&0.0), sorted.last().unwrap_or(&0.0));
        write!(f, "{:.0}/s ({least:.0} to {most:.0})", self.median())
    }
}

/// Runs `a` and `b` in turn for `rounds` rounds after some warm-ups, each told the round, and gives the times of both.
/// `check` sees both results of each round.
pub fn alternate<A, B>(
    rounds: usize,
    mut a: impl FnMut(usize) -> A,
    mut b: impl FnMut(usize) -> B,
    mut check: impl FnMut(usize, A, B),
) -> (Samples, Samples) {
    let (mut times_a, mut times_b) = (Samples::default(), Samples::default());
    for round in 0..WARM_UPS + rounds {
        if round == WARM_UPS {
            (times_a, times_b) = (Samples::default(), Samples::default());
        }
        let of_a = times_a.time(|| a(round));
        let of_b = times_b.time(|| b(round));
        check(round, of_a, of_b);
    }
    (times_a, times_b)
}
