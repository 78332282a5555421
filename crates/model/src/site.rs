//! Sites and hosts: where workloads can run.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::geo::GeoPoint;
use crate::ids::{HostId, SiteId};
use crate::units::Resources;

/// Where a site is, as answers show it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Location {
    /// City.
    pub city: String,
    /// Country.
    pub country: String,
    /// Continent.
    pub continent: String,
    /// State, province, county.
    pub administrative_division: String,
    /// Timezone's name.
    pub timezone: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// What answers pings near a host, so that players can measure how far they are from it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Beacon {
    /// Address or name under which players reach it.
    pub host: String,
    /// Port on which datagrams are sent back, if it does that.
    pub udp_port: Option<u16>,
    /// Port on which connections are answered, if it does that.
    pub tcp_port: Option<u16>,
}

/// A city in which hosts stand. On the wire: a location.
#[derive(Clone, PartialEq, Debug)]
pub struct Site {
    /// Its name in the config.
    pub id: SiteId,
    /// Where it is.
    pub location: Location,
    /// Words for filters.
    pub tags: Vec<String>,
}

/// A place with its own capacity and ports, run by one driver.
#[derive(Clone, PartialEq, Debug)]
pub struct Host {
    /// Its name in the config.
    pub id: HostId,
    /// The site in which it stands.
    pub site: Arc<Site>,
    /// Where players reach it.
    pub public_address: IpAddr,
    /// What may be reserved on it in all.
    pub capacity: Resources,
    /// Host ports that may be given out.
    pub port_range: RangeInclusive<u16>,
    /// The private fleet it belongs to; `None` = shared.
    pub private_fleet: Option<String>,
    /// TLS can be ended in front of ports on it.
    pub ends_tls: bool,
    /// Takes no new deployments, unless its operator says otherwise ([`crate::host_settings`]).
    pub cordoned: bool,
    /// Base clock of its CPU in MHz, told to containers.
    pub base_clock_mhz: u32,
    /// What answers pings near it: its own, or its site's.
    pub beacon: Option<Beacon>,
}

/// A group of hosts that take only deployments which name them.
#[derive(Clone, PartialEq, Debug)]
pub struct PrivateFleet {
    /// Its name in the config.
    pub name: String,
    /// Around which point its hosts were meant to stand.
    pub centroid: Centroid,
}

/// Where the hosts of a fleet were meant to stand. Told to clients; nothing is decided by it.
#[derive(Clone, PartialEq, Debug)]
pub struct Centroid {
    /// For people.
    pub label: String,
    /// The middle.
    pub at: GeoPoint,
    /// How far around it.
    pub radius_km: f64,
    /// How many hosts were wanted.
    pub desired_host_count: u32,
}
