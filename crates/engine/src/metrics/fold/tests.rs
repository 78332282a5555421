//! Totals and gaps: what a row of points comes to, over attempts and counters that begin anew.

use super::*;

/// A point so many seconds after the epoch, whose counters are all the same.
fn point(seconds: i64, attempt: u32, counter: u64) -> Point {
    let at = Timestamp(seconds * 1_000_000);
    Point { counters: [Some(counter); COUNTERS], memory: Some(counter), ..Point::empty(at, attempt) }
}

fn totals(points: &[Point]) -> Vec<u64> {
    fold(points).iter().map(|seen| seen.totals[Counter::Received as usize].unwrap()).collect()
}

#[test]
fn a_rate_is_what_grew_between_two_neighbours() {
    let seen = fold(&[point(0, 1, 1000), point(10, 1, 3000), point(15, 1, 3000)]);
    let rates: Vec<_> = seen.iter().map(|seen| seen.rate(Counter::Sent)).collect();
    assert_eq!(rates, [None, Some(200.0), Some(0.0)]);
}

#[test]
fn totals_go_on_over_a_restart_and_rates_are_never_negative() {
    let points = [point(0, 1, 500), point(10, 1, 900), point(20, 2, 30), point(30, 2, 50), point(40, 4, 1)];
    assert_eq!(totals(&points), [500, 900, 930, 950, 951]);
    assert!(fold(&points).iter().all(|seen| seen.rate(Counter::Cpu).is_none_or(|rate| rate >= 0.0)));
}

#[test]
fn counters_that_begin_anew_within_an_attempt_go_on_as_well() {
    assert_eq!(totals(&[point(0, 1, 900), point(10, 1, 40), point(20, 1, 60)]), [900, 940, 960]);
}

#[test]
fn a_counter_that_begins_anew_leaves_the_others_as_they_are() {
    let mut points = [point(0, 1, 900), point(10, 1, 1000), point(20, 1, 1100)];
    points[1].counters[Counter::DiskRead as usize] = Some(3);
    points[2].counters[Counter::DiskRead as usize] = Some(5);
    assert_eq!(totals(&points), [900, 1000, 1100]);
    let disk: Vec<_> =
        fold(&points).iter().map(|seen| seen.totals[Counter::DiskRead as usize].unwrap()).collect();
    assert_eq!(disk, [900, 903, 905]);
}

#[test]
fn a_reading_by_another_clock_counts_nothing_twice() {
    // A second control plane, whose clock is a little behind, saw 990 before 1000 was seen.
    assert_eq!(totals(&[point(0, 1, 1000), point(1, 1, 990), point(10, 1, 1200)]), [1000, 1000, 1200]);
    assert_eq!(totals(&[point(0, 1, 1000), point(0, 1, 1000), point(10, 1, 1200)]), [1000, 1200]);
}

#[test]
fn an_older_attempt_that_is_still_seen_somewhere_is_passed_over() {
    let points = [point(0, 1, 700), point(10, 2, 10), point(11, 1, 800), point(20, 2, 20), point(21, 1, 900)];
    assert_eq!(totals(&points), [700, 710, 720]);
}

#[test]
fn no_rate_is_told_over_a_gap_and_the_total_knows_of_it() {
    let seen = fold(&[point(0, 1, 0), point(10, 1, 10), point(3600, 1, 5000), point(3610, 1, 5010)]);
    let rates: Vec<_> = seen.iter().map(|seen| seen.rate(Counter::Cpu)).collect();
    assert_eq!(rates, [None, Some(1.0), None, Some(1.0)]);
    assert_eq!(seen[2].totals[0], Some(5000));
}

#[test]
fn coarse_points_are_neighbours_though_ten_minutes_lie_between_them() {
    let coarse = |seconds, counter| Point { tier: 2, ..point(seconds, 1, counter) };
    let seen = fold(&[coarse(0, 0), coarse(600, 1200), coarse(1200, 1800)]);
    assert_eq!(seen[1].rate(Counter::Cpu), Some(2.0));
    assert_eq!(seen[2].rate(Counter::Cpu), Some(1.0));
}

#[test]
fn a_figure_that_is_missing_is_missing_and_the_others_are_not() {
    let mut second = point(10, 1, 20);
    second.counters[Counter::Cpu as usize] = None;
    let seen = fold(&[point(0, 1, 10), second, point(20, 1, 40)]);
    assert_eq!(seen[1].rate(Counter::Cpu), None);
    assert_eq!(seen[1].rate(Counter::Sent), Some(1.0));
    assert_eq!(seen[2].totals[Counter::Cpu as usize], Some(40));
}

#[test]
fn thinning_keeps_means_totals_and_peaks() {
    // Half a CPU for a minute, then a burst of ten seconds on four, then nothing.
    let mut points = Vec::new();
    let mut micros = 0;
    for n in 0..=18 {
        let mut at = point(n * 10, 1, micros);
        at.memory = Some(if n == 9 { 900 } else { 100 });
        points.push(at);
        micros += if n < 6 {
            5_000_000
        } else if n == 6 {
            40_000_000
        } else {
            0
        };
    }
    let thinned = thin(&points, Duration::from_secs(60));
    assert_eq!(thinned.len(), 4);
    let (all, few) = (fold(&points), fold(&thinned));
    assert_eq!(all.last().unwrap().totals, few.last().unwrap().totals);
    assert_eq!(peaks(&thinned), peaks(&points));
    assert_eq!(peaks(&points), (Some(4000), Some(900)));
    assert_eq!(thinned[1].memory, Some((5 * 100 + 900) / 6));
    let again = thin(&thin(&thinned, Duration::from_secs(60)), Duration::from_secs(600));
    assert_eq!((again.len(), peaks(&again)), (1, (Some(4000), Some(900))));
    assert_eq!(again[0].counters[0], Some(70_000_000));
}

#[test]
fn thinning_loses_nothing_of_an_attempt_that_ended_within_the_minute() {
    let points = [point(0, 1, 100), point(10, 1, 700), point(20, 2, 30), point(30, 3, 5), point(70, 3, 9)];
    let thinned = thin(&points, Duration::from_secs(60));
    assert_eq!(thinned.len(), 4, "the last of each attempt");
    assert_eq!(totals(&thinned).last(), totals(&points).last());
}

#[test]
fn a_span_begins_where_it_begins_before_1970_too() {
    let minute = Duration::from_secs(60);
    assert_eq!(floor(Timestamp(61_000_000), minute), Timestamp(60_000_000));
    assert_eq!(floor(Timestamp(-1), minute), Timestamp(-60_000_000));
}
