//! Choosing a host against the naive way: haversine from every player to every site, the same score, the same answer.
//!
//! Each round asks for another crowd of players, the same for both. Four kinds of crowd, from what matches look like to
//! what is worst for a search: players of one region, of two, in the world's big cities, spread evenly over the globe.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::place::{Ask, HostState, HostView, Hosts, Room, place};
use spawnpoint_model::site::{Host, Location, Site};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, MemoryMib};

use crate::paired::{Samples, alternate};

/// Seed of everything drawn; the same in each run.
const SEED: u64 = 0x5eed;

/// Cities for the third kind of crowd: degrees north and east.
const CITIES: [(f64, f64); 16] = [
    (35.7, 139.7),
    (28.6, 77.2),
    (31.2, 121.5),
    (-23.6, -46.6),
    (19.4, -99.1),
    (30.0, 31.2),
    (40.7, -74.0),
    (34.1, -118.2),
    (51.5, -0.1),
    (48.9, 2.4),
    (55.8, 37.6),
    (6.5, 3.4),
    (-34.6, -58.4),
    (-33.9, 151.2),
    (1.4, 103.8),
    (37.6, 127.0),
];

/// Measures all of it.
pub fn run(rounds: usize) -> Vec<String> {
    let mut report = Vec::new();
    let mut random = Random(SEED);
    let sites = positions(&mut random, 10_000);
    let hosts = fleet(&sites, 10_000);
    report.push(
        "100 players, 10 000 sites with one host each: naive haversine scan | place() | ratio".to_owned(),
    );
    for (kind, crowd) in kinds() {
        let crowds: Vec<Vec<GeoPoint>> = (0..rounds + 3).map(|_| crowd(&mut random, 100)).collect();
        let mut other = 0;
        let (scan, ours) = alternate(
            rounds,
            |round| naive(&crowds[round], &sites),
            |round| place(&ask(&crowds[round]), &hosts).map(|placement| placement.number),
            |_, scanned, placed| other += usize::from(scanned != placed),
        );
        let ratio = scan.ratio(&ours);
        report.push(format!("  {kind:<12} {scan} | {ours} | {ratio:.0}x, other answers: {other}"));
    }
    report.extend(many_hosts(rounds, &mut random));
    report
}

/// 10 000 hosts on 600 sites, a third of them full, for 10 players; and what a change of one host costs.
fn many_hosts(rounds: usize, random: &mut Random) -> Vec<String> {
    let sites = positions(random, 600);
    let mut hosts = fleet(&sites, 10_000);
    for number in (0..10_000).step_by(3) {
        hosts.update(number, |state| state.free = Room::default());
    }
    let mut report =
        vec!["10 players, 600 sites, 10 000 hosts of which a third are full: place()".to_owned()];
    for (kind, crowd) in kinds() {
        let mut times = Samples::default();
        for _ in 0..rounds {
            let players = crowd(random, 10);
            times.time(|| place(&ask(&players), &hosts));
        }
        report.push(format!("  {kind:<12} {times}"));
    }
    let mut times = Samples::default();
    for _ in 0..rounds {
        let number = (random.unit() * 10_000.0) as usize;
        times.time(|| hosts.update(number, |state| state.free.ports ^= 1));
    }
    report.push(format!("  update of one host: {times}"));
    report
}

type Kind = (&'static str, fn(&mut Random, usize) -> Vec<GeoPoint>);

fn kinds() -> [Kind; 4] {
    [
        ("one region", |random, count| {
            let middle = random.point();
            (0..count).map(|_| random.near(middle, 8.0)).collect()
        }),
        ("two regions", |random, count| {
            let middles = [random.point(), random.point()];
            (0..count).map(|i| random.near(middles[i % 2], 8.0)).collect()
        }),
        ("big cities", |random, count| {
            let pick = |random: &mut Random| CITIES[(random.unit() * CITIES.len() as f64) as usize];
            let city = |random: &mut Random| {
                let (latitude, longitude) = pick(random);
                random.near(GeoPoint { latitude, longitude }, 2.0)
            };
            (0..count).map(|_| city(random)).collect()
        }),
        ("whole globe", |random, count| (0..count).map(|_| random.point()).collect()),
    ]
}

fn ask(players: &[GeoPoint]) -> Ask<'_> {
    let resources = Resources { cpu: CpuUnits(512), memory: MemoryMib(512) };
    Ask { players, image: "game:1", room: Room { resources, ports: 2 }, ..Ask::default() }
}

/// What one would write first: every player, every site, textbook haversine, mean and half of the worst.
fn naive(players: &[GeoPoint], sites: &[GeoPoint]) -> Option<usize> {
    let score = |site: &GeoPoint| {
        let (mut sum, mut worst) = (0.0, 0.0_f64);
        for player in players {
            let rtt = 10.0 + haversine_km(player, site) * 2.0 / (4.0 / 9.0 * 299.792_458);
            sum += rtt;
            worst = worst.max(rtt);
        }
        sum / players.len() as f64 + 0.5 * worst
    };
    let mut best = None;
    for (number, site) in sites.iter().enumerate() {
        let score = score(site);
        if best.is_none_or(|(_, least)| score < least) {
            best = Some((number, score));
        }
    }
    best.map(|(number, _)| number)
}

fn haversine_km(a: &GeoPoint, b: &GeoPoint) -> f64 {
    let (north, east) = ((b.latitude - a.latitude).to_radians(), (b.longitude - a.longitude).to_radians());
    let across = a.latitude.to_radians().cos() * b.latitude.to_radians().cos();
    let h = (north / 2.0).sin().powi(2) + across * (east / 2.0).sin().powi(2);
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

fn positions(random: &mut Random, count: usize) -> Vec<GeoPoint> {
    (0..count).map(|_| random.point()).collect()
}

/// `count` roomy hosts, dealt to a site at each of `positions` in turn.
fn fleet(positions: &[GeoPoint], count: usize) -> Hosts {
    let site = |(number, at): (usize, &GeoPoint)| {
        let location = Location { latitude: at.latitude, longitude: at.longitude, ..Location::default() };
        Arc::new(Site { id: format!("site-{number}").into(), location, tags: Vec::new() })
    };
    let sites: Vec<Arc<Site>> = positions.iter().enumerate().map(site).collect();
    let capacity = Resources { cpu: CpuUnits(16 * 1024), memory: MemoryMib(32 * 1024) };
    let view = |number: usize| {
        let host = Host {
            id: format!("host-{number:05}").into(),
            site: Arc::clone(&sites[number % sites.len()]),
            public_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            capacity,
            port_range: 20_000..=29_999,
            private_fleet: None,
            ends_tls: true,
            cordoned: false,
            base_clock_mhz: 2000,
            beacon: None,
        };
        let free = Room { resources: capacity, ports: 10_000 };
        let state = HostState { free, healthy: true, filters_clients: true, ..HostState::default() };
        HostView { host: Arc::new(host), state }
    };
    Hosts::new((0..count).map(view).collect())
}

/// SplitMix64: enough chance for a benchmark, the same in each run.
struct Random(u64);

impl Random {
    /// At least 0, less than 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Anywhere on the globe, evenly by area.
    fn point(&mut self) -> GeoPoint {
        let latitude = (2.0 * self.unit() - 1.0).asin().to_degrees();
        GeoPoint { latitude, longitude: 360.0 * self.unit() - 180.0 }
    }

    /// Within `degrees` north or south, and east or west.
    fn near(&mut self, middle: GeoPoint, degrees: f64) -> GeoPoint {
        let mut offset = || (2.0 * self.unit() - 1.0) * degrees;
        let latitude = (middle.latitude + offset()).clamp(-90.0, 90.0);
        let longitude = (middle.longitude + offset() + 540.0).rem_euclid(360.0) - 180.0;
        GeoPoint { latitude, longitude }
    }
}
