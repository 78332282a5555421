//! How good a position is for a crowd of players: great-circle distance, estimated round-trip time, score.
//!
//! What it must not know: hosts, capacity, sites. Entry points: [`Crowd::score`], which is exact, and
//! [`Crowd::bound`], which is fast and never too high.
//!
//! # The formula
//! ```text
//! hav    = |p - s|² / 4                            p, s: unit vectors of player and site (this is haversine)
//! km     = 6371.0088 · 2 · asin(√hav)
//! RTT ms = 10 + 2 · km / (4/9 · 299.792458)        = 10 ms and 1.50 ms for each 100 km
//! score  = mean RTT + ½ · worst RTT                less is better
//! ```
//! Sources. 4/9 of the speed of light: Katz-Bassett et al., "Towards IP Geolocation Using Delay and Topology
//! Measurements", IMC 2006: light in fibre does 2/3 c, and cables are about half as long again as the great circle.
//! 10 ms: a round figure for the two access networks. Together they make 2000 km 40 ms, three times light in vacuum,
//! which agrees with Bozkurt et al., "Why Is the Internet so Slow?!", PAM 2017. It is an honest estimate, no
//! measurement: only distance can change the order of sites, the two constants change the figures shown.
//!
//! The fairness term: a millisecond for the worst-off player counts half as much as a millisecond for everybody.
//!
//! Each player's RTT is rounded to whole microseconds (about 70 m) and everything after is whole numbers, so the
//! order of the players cannot change a score, and positions that are the same for the players tie exactly.

use crate::geo::GeoPoint;

/// Mean radius of the earth (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.0088;
/// Speed of light in vacuum, kilometres per millisecond.
const LIGHT_KM_PER_MS: f64 = 299.792_458;
/// Distance made good, as a part of the speed of light: 2/3 in fibre, over paths half as long again.
const SPEED: f64 = 4.0 / 9.0;
/// Microseconds that do not depend on the distance: the access networks at both ends.
const ACCESS_MICROS: f64 = 10_000.0;
/// Microseconds of round trip for one radian of great circle.
const MICROS_PER_RADIAN: f64 = 2.0 * 1000.0 * EARTH_RADIUS_KM / (SPEED * LIGHT_KM_PER_MS);
/// Weight of the worst player against the mean, in halves (so that scores stay whole numbers): 1 = ½.
const FAIRNESS_HALVES: u64 = 1;
/// Radians by which [`Crowd::bound`] stays below: more than [`arc`] is ever off. About 6 km: nothing between circles
/// that are worth telling apart.
const SLACK: f32 = 1.0e-3;
/// Players handled at once; the compiler turns a lane array into vector instructions.
const LANES: usize = 8;

/// A point on the unit sphere.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Vector {
    /// Towards 0° N, 0° E.
    pub x: f64,
    /// Towards 0° N, 90° E.
    pub y: f64,
    /// Towards the north pole.
    pub z: f64,
}

impl Vector {
    /// The point at `latitude` and `longitude` in degrees.
    pub(super) fn from_degrees(latitude: f64, longitude: f64) -> Self {
        let (north, out) = latitude.to_radians().sin_cos();
        let (y, x) = longitude.to_radians().sin_cos();
        Self { x: out * x, y: out * y, z: north }
    }

    /// Radians of great circle to `other`.
    pub(super) fn angle(self, other: Self) -> f64 {
        let (x, y, z) = (self.x - other.x, self.y - other.y, self.z - other.z);
        2.0 * (0.5 * (x * x + y * y + z * z).sqrt()).min(1.0).asin()
    }
}

/// Estimated round-trip times between one position and a crowd of players. Less is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Score {
    sum_micros: u64,
    worst_micros: u64,
    players: u64,
}

impl Score {
    /// Mean of the players' estimated round-trip times in milliseconds.
    #[must_use]
    pub fn mean_ms(self) -> f64 {
        self.sum_micros as f64 / self.players as f64 / 1000.0
    }

    /// The worst-off player's estimated round-trip time in milliseconds.
    #[must_use]
    pub fn worst_ms(self) -> f64 {
        self.worst_micros as f64 / 1000.0
    }

    /// The score in milliseconds: the mean and half of the worst.
    #[must_use]
    pub fn ms(self) -> f64 {
        self.mean_ms() + FAIRNESS_HALVES as f64 / 2.0 * self.worst_ms()
    }

    /// What is compared: the score in microseconds times twice the number of players, a whole number.
    pub(super) fn points(self) -> u64 {
        2 * self.sum_micros + FAIRNESS_HALVES * self.players * self.worst_micros
    }
}

/// Estimated round-trip time in microseconds over `radians` of great circle.
fn rtt_micros(radians: f64) -> f64 {
    ACCESS_MICROS + MICROS_PER_RADIAN * radians
}

/// Estimated round-trip time between two points, in milliseconds.
#[must_use]
pub fn estimated_rtt_ms(a: GeoPoint, b: GeoPoint) -> f64 {
    let angle =
        Vector::from_degrees(a.latitude, a.longitude).angle(Vector::from_degrees(b.latitude, b.longitude));
    rtt_micros(angle).round() / 1000.0
}

/// How good a position is for players; `None` without players.
#[must_use]
pub fn score(position: GeoPoint, players: &[GeoPoint]) -> Option<Score> {
    Some(Crowd::of(players)?.score(Vector::from_degrees(position.latitude, position.longitude)))
}

/// Some players, at least one, made ready to be measured from many positions.
pub(super) struct Crowd {
    players: Vec<Vector>,
    lanes: Vec<Lanes>,
}

/// [`LANES`] players side by side. What is left over in the last one repeats a player with weight 0.
struct Lanes {
    x: [f32; LANES],
    y: [f32; LANES],
    z: [f32; LANES],
    weight: [f32; LANES],
}

impl Crowd {
    /// The players at `points`; `None` if there are none.
    pub(super) fn of(points: &[GeoPoint]) -> Option<Self> {
        let players: Vec<Vector> =
            points.iter().map(|p| Vector::from_degrees(p.latitude, p.longitude)).collect();
        let first = *players.first()?;
        let lanes = players.chunks(LANES).map(|some| {
            let at = |lane: usize| some.get(lane).copied().unwrap_or(first);
            Lanes {
                x: std::array::from_fn(|lane| at(lane).x as f32),
                y: std::array::from_fn(|lane| at(lane).y as f32),
                z: std::array::from_fn(|lane| at(lane).z as f32),
                weight: std::array::from_fn(|lane| if lane < some.len() { 1.0 } else { 0.0 }),
            }
        });
        let lanes = lanes.collect();
        Some(Self { players, lanes })
    }

    /// The exact score of `position`.
    pub(super) fn score(&self, position: Vector) -> Score {
        let (mut sum_micros, mut worst_micros) = (0, 0);
        for player in &self.players {
            let micros = rtt_micros(player.angle(position)).round() as u64;
            sum_micros += micros;
            worst_micros = worst_micros.max(micros);
        }
        Score { sum_micros, worst_micros, players: self.players.len() as u64 }
    }

    /// A number not above [`Score::points`] of any position within `radius` radians of `centre`.
    ///
    /// By the triangle inequality no such position is nearer to a player than the centre is, less the radius.
    pub(super) fn bound(&self, centre: [f32; 3], radius: f32) -> u64 {
        let reach = radius + SLACK;
        let (mut sum, mut worst) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        for players in &self.lanes {
            for lane in 0..LANES {
                let far = arc([players.x[lane], players.y[lane], players.z[lane]], centre);
                // Written out, since `f32::max` takes care of NaN, which costs as much again here.
                let least = if far > reach { far - reach } else { 0.0 };
                sum[lane] += players.weight[lane] * least;
                worst[lane] = if least > worst[lane] { least } else { worst[lane] };
            }
        }
        let players = self.players.len() as f64;
        let sum = f64::from(sum.iter().sum::<f32>()) * (1.0 - 1e-5);
        let worst = f64::from(worst.into_iter().fold(0.0, f32::max));
        let fairness = FAIRNESS_HALVES as f64 * players;
        // Half a microsecond a player is what rounding can take away.
        let points = 2.0 * (players * (ACCESS_MICROS - 0.5) + MICROS_PER_RADIAN * sum)
            + fairness * (ACCESS_MICROS - 0.5 + MICROS_PER_RADIAN * worst);
        points as u64
    }
}

/// Radians of great circle between two unit vectors, less than [`SLACK`] off; without branches or calls, so that it
/// runs for several players at once.
///
/// acos by Abramowitz and Stegun 4.4.45 on 0..1, mirrored. The most is off where the vectors meet or are opposite:
/// there the last digits of `f32` are a few kilometres.
#[inline]
fn arc(a: [f32; 3], b: [f32; 3]) -> f32 {
    use std::f32::consts::FRAC_PI_2;
    let signed = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let cosine = signed.abs();
    let rest = 1.0 - cosine;
    let rest = if rest > 0.0 { rest } else { 0.0 };
    let series = 1.570_728_8 + cosine * (-0.212_114_4 + cosine * (0.074_261 - 0.018_729_3 * cosine));
    FRAC_PI_2 - (FRAC_PI_2 - rest.sqrt() * series).copysign(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64) -> GeoPoint {
        GeoPoint { latitude, longitude }
    }

    fn f32s(v: Vector) -> [f32; 3] {
        [v.x as f32, v.y as f32, v.z as f32]
    }

    #[test]
    fn paris_to_new_york_is_5837_km_and_about_98_ms() {
        let (paris, new_york) = (at(48.8566, 2.3522), at(40.7128, -74.0060));
        let angle = Vector::from_degrees(paris.latitude, paris.longitude)
            .angle(Vector::from_degrees(new_york.latitude, new_york.longitude));
        assert!((angle * EARTH_RADIUS_KM - 5837.0).abs() < 2.0, "{}", angle * EARTH_RADIUS_KM);
        assert!((estimated_rtt_ms(paris, new_york) - 97.6).abs() < 0.1);
        assert!((estimated_rtt_ms(paris, paris) - 10.0).abs() < 1e-9);
        assert!((estimated_rtt_ms(at(90.0, 0.0), at(-90.0, 77.0)) - 310.4).abs() < 0.1);
    }

    #[test]
    fn the_fast_arc_is_well_within_the_slack() {
        for step in 0..=200_000_u32 {
            let angle = f64::from(step) / 200_000.0 * std::f64::consts::PI;
            for tilt in [0.0, 17.3, -63.0] {
                let a = Vector::from_degrees(tilt, 40.0);
                let (sin, cos) = angle.sin_cos();
                let (sin40, cos40) = 40_f64.to_radians().sin_cos();
                let b = Vector { x: a.x * cos - sin40 * sin, y: a.y * cos + cos40 * sin, z: a.z * cos };
                let error = (f64::from(arc(f32s(a), f32s(b))) - a.angle(b)).abs();
                assert!(error < f64::from(SLACK) * 0.8, "{angle} {tilt} {error}");
            }
        }
    }

    #[test]
    fn a_score_is_the_mean_and_half_of_the_worst_in_any_order() {
        let (here, there) = (at(0.0, 0.0), at(0.0, 90.0));
        let one = Crowd::of(&[here, here, there]).unwrap().score(Vector::from_degrees(0.0, 0.0));
        let two = Crowd::of(&[there, here, here]).unwrap().score(Vector::from_degrees(0.0, 0.0));
        assert_eq!(one, two);
        let far = estimated_rtt_ms(here, there);
        assert!((one.worst_ms() - far).abs() < 1e-9);
        assert!((one.mean_ms() - (20.0 + far) / 3.0).abs() < 1e-9);
        assert!((one.ms() - (one.mean_ms() + 0.5 * far)).abs() < 1e-9);
        assert_eq!(one.points() as f64, (one.ms() * 6000.0).round());
    }

    #[test]
    fn nobody_makes_no_crowd() {
        assert!(Crowd::of(&[]).is_none());
    }
}
