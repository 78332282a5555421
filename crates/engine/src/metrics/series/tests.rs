//! Steps: what a series shows of points that are denser, sparser, or not there.

use super::*;
use crate::metrics::fold::fold;
use crate::metrics::points::{COUNTERS, Point};

const CPU: CpuUnits = CpuUnits(512);
const HALF_MINUTE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// A point every `period` seconds from 0 to `end`: a quarter of a CPU, 100 MiB, 1000 bytes a second in, twice that out.
fn steady(period: usize, end: i64) -> Vec<Point> {
    let point = |seconds: i64| {
        let n = u64::try_from(seconds).unwrap();
        let mut counters = [Some(0); COUNTERS];
        counters[Counter::Cpu as usize] = Some(n * 250_000);
        counters[Counter::Received as usize] = Some(n * 1000);
        counters[Counter::Sent as usize] = Some(n * 2000);
        counters[Counter::Throttled as usize] = Some(n * 100_000);
        counters[Counter::DiskRead as usize] = None;
        Point { counters, memory: Some(100 << 20), ..Point::empty(at(seconds), 1) }
    };
    (0..=end).step_by(period).map(point).collect()
}

fn report(points: &[Point], range: Range<i64>, step: Option<Duration>) -> Report {
    Report::of(&fold(points), &(at(range.start)..at(range.end)), step, CPU)
}

fn values(series: &Series) -> Vec<f64> {
    series.iter().map(|(_, value)| (value * 1000.0).round() / 1000.0).collect()
}

fn seconds(series: &Series) -> Vec<i64> {
    series.iter().map(|(at, _)| at.micros() / 1_000_000).collect()
}

#[test]
fn units_are_percent_of_the_allocation_mebibytes_bytes_and_seconds() {
    let report = report(&steady(10, 60), 0..60, Some(HALF_MINUTE));
    assert_eq!(values(&report.cpu), [50.0, 50.0], "a quarter of a CPU, of the half that it may use");
    assert_eq!(values(&report.memory), [100.0, 100.0]);
    assert_eq!(values(&report.receive), [1000.0, 1000.0]);
    assert_eq!(values(&report.transmit), [2000.0, 2000.0]);
    assert_eq!(values(&report.throttle_rate), [10.0, 10.0]);
    assert_eq!(
        values(&report.receive_total),
        [30_000.0, 60_000.0],
        "where it stands at the end of each step"
    );
    assert_eq!(values(&report.throttle_total), [3.0, 6.0]);
    assert_eq!((report.disk_read_total, values(&report.disk_write_total)), (vec![], vec![0.0, 0.0]));
}

#[test]
fn steps_begin_at_their_multiples_and_the_first_with_the_range() {
    let report = report(&steady(10, 200), 45..131, Some(HALF_MINUTE));
    assert_eq!(seconds(&report.cpu), [45, 60, 90, 120]);
    assert_eq!(values(&report.receive), [1000.0; 4]);
    assert_eq!(values(&report.receive_total), [60_000.0, 90_000.0, 120_000.0, 131_000.0]);
}

#[test]
fn a_mean_is_weighted_by_time_however_the_points_lie() {
    // 100 bytes a second until 20, 400 after; seen at 0, 20 and 60.
    let mut points = steady(10, 60);
    points.retain(|point| [0, 20, 60].contains(&(point.at.micros() / 1_000_000)));
    for (point, received) in points.iter_mut().zip([0, 2000, 18_000]) {
        point.counters[Counter::Received as usize] = Some(received);
    }
    let report = report(&points, 0..60, Some(HALF_MINUTE));
    assert_eq!(values(&report.receive), [200.0, 400.0]);
    assert_eq!(values(&report.receive_total), [6000.0, 18_000.0]);
}

#[test]
fn steps_finer_than_the_points_have_values_all_the_same() {
    let report = report(&steady(60, 300), 0..300, Some(HALF_MINUTE));
    assert_eq!(values(&report.cpu), [50.0; 10]);
    assert_eq!(report.receive_total.len(), 10);
    assert_eq!(values(&report.receive_total)[..3], [30_000.0, 60_000.0, 90_000.0]);
}

#[test]
fn steps_of_which_nothing_is_known_are_left_out() {
    let mut points = steady(10, 900);
    points.retain(|point| !(100..700).contains(&(point.at.micros() / 1_000_000)));
    let report = report(&points, 0..900, Some(Duration::from_secs(60)));
    assert_eq!(seconds(&report.cpu), [0, 60, 660, 720, 780, 840]);
    assert_eq!(values(&report.cpu), [50.0; 6]);
}

#[test]
fn a_lone_point_shows_what_it_can() {
    let report = report(&steady(10, 0), 0..60, Some(HALF_MINUTE));
    assert_eq!(
        (report.cpu.len(), values(&report.memory), values(&report.receive_total)),
        (0, vec![100.0], vec![0.0])
    );
}

#[test]
fn raw_shows_every_point_in_the_range_and_rates_of_those_with_a_neighbour() {
    let report = report(&steady(10, 60), 0..60, None);
    assert_eq!(seconds(&report.memory), [0, 10, 20, 30, 40, 50, 60]);
    assert_eq!(seconds(&report.cpu), [10, 20, 30, 40, 50, 60]);
    assert_eq!(values(&report.transmit), [2000.0; 6]);
}

#[test]
fn nothing_is_told_of_a_range_in_which_nothing_was_seen() {
    for step in [None, Some(HALF_MINUTE)] {
        assert_eq!(report(&steady(10, 60), 1000..2000, step), Report::default());
        assert_eq!(report(&steady(10, 60), -100..-50, step), Report::default());
        assert_eq!(report(&[], 0..100, step), Report::default());
    }
}
