//! Five cities, three with a shared host and two with one of the private fleet `tournament`; and room for one host more that is
//! added while the engine runs. Every host pretends.

use std::sync::Arc;

use spawnpoint_driver::Security;
use spawnpoint_driver::fake::{FakeClock, FakeConfig, FakeDriver, FakeEngine};
use spawnpoint_engine::{ConnectHost, Front, HostSetup};
use spawnpoint_model::added::AddedHost;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::site::{Beacon, Centroid, Host, Location, PrivateFleet, Site};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, Invalid, Invalids, MemoryMib};
use spawnpoint_store::Store;

/// Name, latitude and longitude in degrees, private fleet.
pub const CITIES: [(&str, f64, f64, Option<&str>); 5] = [
    ("lyon", 45.75, 4.85, None),
    ("montreal", 45.5, -73.57, None),
    ("tokyo", 35.68, 139.69, None),
    ("kyoto", 35.01, 135.77, Some("tournament")),
    ("osaka", 34.69, 135.5, Some("tournament")),
];

/// Gives each host what ends TLS on it, if the test has such a thing.
pub type MakeFront = dyn Fn() -> Option<Arc<dyn Front>> + Send + Sync;

/// The private fleet of Kyoto and Osaka.
#[must_use]
pub fn tournament() -> PrivateFleet {
    let at = GeoPoint { latitude: 35.0, longitude: 135.5 };
    let centroid = Centroid { label: "Kansai".into(), at, radius_km: 100.0, desired_host_count: 2 };
    PrivateFleet { name: "tournament".into(), centroid }
}

/// An engine for the host of each city, and a last one for hosts that are added. With a clock they say since when workloads run.
#[must_use]
pub fn engines(clock: Option<FakeClock>) -> Vec<Arc<FakeEngine>> {
    let config = FakeConfig { clock, ..FakeConfig::default() };
    (0..=CITIES.len()).map(|_| FakeEngine::new(config.clone())).collect()
}

/// The hosts of the cities, one each, on the first of these engines.
///
/// # Panics
/// Never: their addresses are good.
#[must_use]
pub fn setups(store: &Store, engines: &[Arc<FakeEngine>], front: &MakeFront) -> Vec<HostSetup> {
    let cities = CITIES.iter().zip(engines);
    cities
        .map(|((city, latitude, longitude, private), engine)| {
            let host = Host {
                id: HostId::from(format!("{city}-1")),
                site: site(city, *latitude, *longitude),
                public_address: "203.0.113.1".parse().unwrap(),
                capacity: Resources { cpu: CpuUnits(4096), memory: MemoryMib(4096) },
                port_range: 30_000..=30_099,
                private_fleet: private.map(str::to_owned),
                ends_tls: true,
                cordoned: false,
                base_clock_mhz: 2000,
                // The third city has none.
                beacon: (*city != "tokyo").then(|| Beacon {
                    host: "203.0.113.9".into(),
                    udp_port: Some(8090),
                    tcp_port: matches!(*city, "lyon" | "kyoto").then_some(8091),
                }),
            };
            setup(host, engine, store, front())
        })
        .collect()
}

/// Connects added hosts to one engine.
pub struct Annex {
    engine: Arc<FakeEngine>,
    store: Store,
    front: Box<MakeFront>,
}

impl Annex {
    /// On the last of these engines.
    #[must_use]
    pub fn on_last(
        engines: &[Arc<FakeEngine>],
        store: &Store,
        front: Box<MakeFront>,
    ) -> Option<Arc<dyn ConnectHost>> {
        let engine = engines.last()?.clone();
        Some(Arc::new(Self { engine, store: store.clone(), front }))
    }
}

#[async_trait::async_trait]
impl ConnectHost for Annex {
    async fn connect(&self, added: &AddedHost, _beside: &[AddedHost]) -> Result<HostSetup, Invalids> {
        let city = CITIES.iter().find(|(city, ..)| *city == added.site.as_str());
        let Some((city, latitude, longitude, _)) = city else {
            return Err(Invalid::new("site", "there is no such site").into());
        };
        let (first, last) = added.port_range.unwrap_or((31_000, 31_099));
        let host = Host {
            id: added.id.clone(),
            site: site(city, *latitude, *longitude),
            public_address: "203.0.113.2".parse().unwrap(),
            capacity: added.capacity.unwrap_or(Resources { cpu: CpuUnits(2048), memory: MemoryMib(2048) }),
            port_range: first..=last,
            private_fleet: added.private_fleet.clone(),
            ends_tls: true,
            cordoned: false,
            base_clock_mhz: 2000,
            beacon: added.beacon.as_ref().map(|beacon| Beacon {
                host: beacon.host.clone().unwrap_or_default(),
                udp_port: beacon.udp_port,
                tcp_port: beacon.tcp_port,
            }),
        };
        Ok(setup(host, &self.engine, &self.store, (self.front)()))
    }
}

fn site(city: &str, latitude: f64, longitude: f64) -> Arc<Site> {
    let location = Location {
        city: city.into(),
        country: "somewhere".into(),
        latitude,
        longitude,
        ..Location::default()
    };
    Arc::new(Site { id: city.into(), location, tags: vec!["edge".into()] })
}

fn setup(host: Host, engine: &Arc<FakeEngine>, store: &Store, front: Option<Arc<dyn Front>>) -> HostSetup {
    let driver = FakeDriver::on(engine.clone(), store.installation(), host.id.clone());
    HostSetup {
        host: Arc::new(host),
        driver: Arc::new(driver),
        callback_url: None,
        security: Security::Baseline,
        pids_max: 512,
        front,
    }
}
