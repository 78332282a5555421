//! What a row of points tells: totals over all attempts, rates between neighbours, peaks; and how it is thinned.
//! Pure.

use std::time::Duration;

use spawnpoint_model::Timestamp;

use super::points::{COUNTERS, Counter, Point};

/// Two neighbours that lie further apart than this had something between them that nobody saw: no rate is told of it.
/// A minute lies between the samples of a distant engine, and between points of the first coarse tier.
const GAP: Duration = Duration::from_secs(150);
/// The same between points for ten minutes.
const COARSE_GAP: Duration = Duration::from_secs(25 * 60);

/// A point, seen together with all before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) point: Point,
    /// Each counter over all attempts.
    pub(super) totals: [Option<u64>; COUNTERS],
    /// The neighbour before it, unless a gap lies between.
    pub(super) before: Option<(Timestamp, [Option<u64>; COUNTERS])>,
    /// Changes wherever counters begin anew.
    epoch: u32,
}

impl Seen {
    /// How fast a counter grew since the neighbour before, per second.
    pub(super) fn rate(&self, counter: Counter) -> Option<f64> {
        let (at, totals) = self.before?;
        let grown = self.totals[counter as usize]?.saturating_sub(totals[counter as usize]?);
        let seconds = self.point.at.since(at).as_secs_f64();
        (seconds > 0.0).then(|| exact(grown) / seconds)
    }

    /// The most CPU that this point knows of, in thousandths of a CPU.
    fn cpu_peak(&self) -> Option<u64> {
        let (at, totals) = self.before.unzip();
        let own = at.zip(totals).and_then(|(at, totals)| {
            let grown = self.totals[Counter::Cpu as usize]?.saturating_sub(totals[Counter::Cpu as usize]?);
            let micros = u64::try_from(self.point.at.since(at).as_micros()).ok()?;
            grown.saturating_mul(1000).checked_div(micros)
        });
        // A point that stands for several knows better than the mean over them.
        self.point.cpu_peak.or(own)
    }

    fn memory_peak(&self) -> Option<u64> {
        self.point.memory_peak.max(self.point.memory)
    }
}

/// A counter as a number to calculate with; beyond 2⁵³ it loses its last digits.
pub(super) const fn exact(number: u64) -> f64 {
    number as f64
}

/// Looks at points that lie in the order of time.
pub(super) fn fold(points: &[Point]) -> Vec<Seen> {
    let mut seen: Vec<Seen> = Vec::with_capacity(points.len());
    // What earlier attempts had come to, and where the counters of this one stand.
    let (mut base, mut last) = ([0_u64; COUNTERS], [None::<u64>; COUNTERS]);
    let (mut attempt, mut epoch) = (0, 0);
    for point in points {
        // An older attempt that somebody still sees beside the newer one.
        let is_stale = point.attempt < attempt;
        let is_double = seen.last().is_some_and(|before| before.point.at >= point.at);
        if is_stale || is_double {
            continue;
        }
        let is_next = point.attempt > attempt;
        attempt = point.attempt;
        let mut began_anew = is_next;
        for (i, (base, last)) in base.iter_mut().zip(&mut last).enumerate() {
            if is_next || fell(*last, point.counters[i]) {
                *base = base.saturating_add(last.take().unwrap_or(0));
                began_anew = true;
            }
        }
        epoch += u32::from(began_anew);
        let mut totals = [None; COUNTERS];
        for (i, total) in totals.iter_mut().enumerate() {
            // What fell a little is an older reading, by another clock: it has not become less.
            let value = point.counters[i].map(|value| value.max(last[i].unwrap_or(0)));
            last[i] = value.or(last[i]);
            *total = value.map(|value| base[i].saturating_add(value));
        }
        let is_near = |before: &&Seen| point.at.since(before.point.at) <= longest(before, point);
        let before = seen.last().filter(is_near).map(|before| (before.point.at, before.totals));
        seen.push(Seen { point: *point, totals, before, epoch });
    }
    seen
}

/// Whether a counter fell to less than half of what it was: it began anew, although the attempt is the same.
fn fell(last: Option<u64>, now: Option<u64>) -> bool {
    last.zip(now).is_some_and(|(last, now)| now < last / 2)
}

/// How far two neighbours may lie apart without a gap between them.
fn longest(before: &Seen, point: &Point) -> Duration {
    if before.point.tier.max(point.tier) >= 2 { COARSE_GAP } else { GAP }
}

/// One point for each `span`, or several where counters began anew within it.
pub(super) fn thin(points: &[Point], span: Duration) -> Vec<Point> {
    let seen = fold(points);
    let same = |a: &Seen, b: &Seen| a.epoch == b.epoch && floor(a.point.at, span) == floor(b.point.at, span);
    seen.chunk_by(same).filter_map(merge).collect()
}

fn merge(group: &[Seen]) -> Option<Point> {
    let memories = group.iter().filter_map(|seen| seen.point.memory);
    let (sum, count) = memories.fold((0_u128, 0_u128), |(sum, n), memory| (sum + u128::from(memory), n + 1));
    let mut counters = [None; COUNTERS];
    for seen in group {
        for (counter, value) in counters.iter_mut().zip(seen.point.counters) {
            *counter = value.max(*counter);
        }
    }
    Some(Point {
        counters,
        memory: sum.checked_div(count).and_then(|mean| u64::try_from(mean).ok()),
        memory_peak: group.iter().filter_map(Seen::memory_peak).max(),
        cpu_peak: group.iter().filter_map(Seen::cpu_peak).max(),
        ..group.last()?.point
    })
}

/// The most that was seen: thousandths of a CPU, and bytes of memory.
pub(super) fn peaks(points: &[Point]) -> (Option<u64>, Option<u64>) {
    let seen = fold(points);
    (seen.iter().filter_map(Seen::cpu_peak).max(), seen.iter().filter_map(Seen::memory_peak).max())
}

/// The beginning of the span that `at` lies in.
pub(super) fn floor(at: Timestamp, span: Duration) -> Timestamp {
    let span = i64::try_from(span.as_micros()).unwrap_or(i64::MAX).max(1);
    Timestamp(at.micros() - at.micros().rem_euclid(span))
}

#[cfg(test)]
mod tests;
