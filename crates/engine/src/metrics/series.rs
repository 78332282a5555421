//! Points as the series that users see: steps of equal length, or the points themselves. Pure.
//!
//! A step's value is the mean over the step: of rates and memory weighted by time, so that it is the same whether ten
//! points lie in the step or one reaches over it. Of a total it is where the total stands at the step's end. A step that
//! nothing is known of is left out.

use std::ops::Range;
use std::time::Duration;

use spawnpoint_model::{CpuUnits, Timestamp};

use super::fold::{Seen, exact, floor};
use super::points::Counter;

/// One value each time.
pub type Series = Vec<(Timestamp, f64)>;

/// What a deployment used, over time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// CPU, in percent of what the deployment may use.
    pub cpu: Series,
    /// Memory, in MiB.
    pub memory: Series,
    /// Bytes received per second.
    pub receive: Series,
    /// Bytes sent per second.
    pub transmit: Series,
    /// Bytes received since the start.
    pub receive_total: Series,
    /// Bytes sent since the start.
    pub transmit_total: Series,
    /// Bytes read from disk since the start.
    pub disk_read_total: Series,
    /// Bytes written to disk since the start.
    pub disk_write_total: Series,
    /// For how much of the time its CPU limit held it back, in percent; each of several CPUs counts by itself.
    pub throttle_rate: Series,
    /// For how long its CPU limit has held it back since the start, in seconds.
    pub throttle_total: Series,
}

/// What one series shows.
#[derive(Clone, Copy)]
enum Shown {
    /// How fast a counter grows per second, times a factor.
    Rate(Counter, f64),
    /// Where a counter stands, times a factor.
    Total(Counter, f64),
    /// Memory.
    Memory,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Report {
    /// Of points that were folded. `step` is `None` for the points themselves. Values lie at their step's beginning, the
    /// first not before the range.
    pub(super) fn of(seen: &[Seen], range: &Range<Timestamp>, step: Option<Duration>, cpu: CpuUnits) -> Self {
        let series = |shown| match step {
            Some(step) => stepped(seen, range, step, shown),
            None => as_sampled(seen, range, shown),
        };
        // Microseconds per second, as percent of the CPUs that it may use.
        let share = f64::from(CpuUnits::ONE.0) / f64::from(cpu.0.max(1)) / 1e4;
        Self {
            cpu: series(Shown::Rate(Counter::Cpu, share)),
            memory: series(Shown::Memory),
            receive: series(Shown::Rate(Counter::Received, 1.0)),
            transmit: series(Shown::Rate(Counter::Sent, 1.0)),
            receive_total: series(Shown::Total(Counter::Received, 1.0)),
            transmit_total: series(Shown::Total(Counter::Sent, 1.0)),
            disk_read_total: series(Shown::Total(Counter::DiskRead, 1.0)),
            disk_write_total: series(Shown::Total(Counter::DiskWritten, 1.0)),
            throttle_rate: series(Shown::Rate(Counter::Throttled, 1e-4)),
            throttle_total: series(Shown::Total(Counter::Throttled, 1e-6)),
        }
    }
}

impl Shown {
    /// What a point shows by itself.
    fn value(self, seen: &Seen) -> Option<f64> {
        match self {
            Self::Rate(counter, factor) => Some(seen.rate(counter)? * factor),
            Self::Total(counter, factor) => Some(exact(seen.totals[counter as usize]?) * factor),
            Self::Memory => Some(exact(seen.point.memory?) / MIB),
        }
    }

    /// Where a total stood at `at`, which lies between a point and the neighbour before it.
    fn total_at(self, seen: &Seen, at: Timestamp) -> Option<f64> {
        let Self::Total(counter, factor) = self else { return None };
        let (from, before) = seen.before?;
        let (low, high) = (before[counter as usize]?, seen.totals[counter as usize]?);
        let share = at.since(from).as_secs_f64() / seen.point.at.since(from).as_secs_f64();
        // Whole bytes stay whole.
        let between = exact(low) + (exact(high.saturating_sub(low)) * share).round();
        Some(between * factor)
    }
}

/// Whether a point lies in a range: its end belongs to it, since "until now" means the newest point too.
pub(super) fn is_inside(seen: &Seen, range: &Range<Timestamp>) -> bool {
    range.start <= seen.point.at && seen.point.at <= range.end
}

fn as_sampled(seen: &[Seen], range: &Range<Timestamp>, shown: Shown) -> Series {
    let inside = seen.iter().filter(|seen| is_inside(seen, range));
    inside.filter_map(|seen| Some((seen.point.at, shown.value(seen)?))).collect()
}

/// A step in the making.
#[derive(Clone, Copy, Default)]
struct Sum {
    weighted: f64,
    seconds: f64,
    /// Where a total stands at the end, or what a single point without a neighbour shows.
    last: Option<f64>,
}

fn stepped(seen: &[Seen], range: &Range<Timestamp>, step: Duration, shown: Shown) -> Series {
    let mut series: Vec<(Timestamp, Sum)> = Vec::new();
    for seen in seen {
        let at = seen.point.at;
        let from = seen.before.map_or(at, |(from, _)| from);
        let mut begin = floor(from.max(range.start), step);
        while begin <= at && begin < range.end {
            let end = begin.plus(step).min(range.end);
            let (low, high) = (from.max(begin).max(range.start), at.min(end));
            // A point without a neighbour has no length, but lies in one step.
            let touches = low < high || (from == at && is_inside(seen, range));
            if touches {
                add(&mut series, begin, seen, high, high.since(low), shown);
            }
            begin = begin.plus(step);
        }
    }
    let finish = |(begin, sum): (Timestamp, Sum)| {
        let mean = (sum.seconds > 0.0).then(|| sum.weighted / sum.seconds);
        Some((begin.max(range.start), mean.or(sum.last)?))
    };
    series.into_iter().filter_map(finish).collect()
}

/// Adds what a point shows of the part of a step that ends at `high`.
fn add(
    series: &mut Vec<(Timestamp, Sum)>,
    begin: Timestamp,
    seen: &Seen,
    high: Timestamp,
    length: Duration,
    shown: Shown,
) {
    if series.last().is_none_or(|(last, _)| *last < begin) {
        series.push((begin, Sum::default()));
    }
    let Some((_, sum)) = series.last_mut() else { return };
    match shown {
        Shown::Total(..) => sum.last = shown.total_at(seen, high).or_else(|| shown.value(seen)).or(sum.last),
        Shown::Rate(..) | Shown::Memory => {
            let Some(value) = shown.value(seen) else { return };
            sum.weighted += value * length.as_secs_f64();
            sum.seconds += length.as_secs_f64();
            sum.last = Some(value);
        }
    }
}

#[cfg(test)]
mod tests;
