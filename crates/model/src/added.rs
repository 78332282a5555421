//! Hosts and private fleets that operators add while the server runs, as they said it: the config's tables in another
//! place. What a driver makes of it is no business of this room.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::geo::GeoPoint;
use crate::ids::{HostId, SiteId};
use crate::site::{Centroid, PrivateFleet};
use crate::time::Timestamp;
use crate::units::Resources;

/// Hosts that may be added.
pub const HOSTS_MAX: usize = 1000;
/// Private fleets that may be added.
pub const FLEETS_MAX: usize = 1000;
/// Hosts that may be wanted of one fleet.
pub const HOSTS_WANTED_MAX: u32 = 100_000;
/// Half of the way around the earth: nothing is farther away.
pub const RADIUS_KM_MAX: f64 = 20_040.0;
/// Characters of a centroid's label.
pub const LABEL_CHARS_MAX: usize = 255;
/// Characters of the name of a site, a host, a private fleet.
pub const NAME_CHARS_MAX: usize = 63;

/// What runs workloads on an added host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddedDriver {
    /// A Docker engine.
    Docker,
    /// Pretends, in memory.
    Fake,
}

/// What answers pings near an added host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddedBeacon {
    /// Under which players reach it; `None` = the host's own address.
    pub host: Option<String>,
    /// Port on which datagrams are sent back.
    pub udp_port: Option<u16>,
    /// Port on which connections are answered.
    pub tcp_port: Option<u16>,
}

/// A host as an operator adds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AddedHost {
    /// Its name.
    pub id: HostId,
    /// The site of the config in which it stands.
    pub site: SiteId,
    /// Where players reach it; `None` = where its engine is.
    pub public_address: Option<IpAddr>,
    /// What runs workloads on it.
    pub driver: AddedDriver,
    /// Where its engine listens.
    pub endpoint: Option<String>,
    /// What may be given out; `None` = to be measured.
    pub capacity: Option<Resources>,
    /// Nobody said the capacity: it was measured when the host was added.
    pub measured: bool,
    /// First and last host port that may be given out; `None` = as in the config.
    pub port_range: Option<(u16, u16)>,
    /// The private fleet it belongs to.
    pub private_fleet: Option<String>,
    /// What answers pings near it; `None` = its site's.
    pub beacon: Option<AddedBeacon>,
    /// Told to game servers; `None` = as in the config.
    pub base_clock_mhz: Option<u32>,
    /// Whether workloads are held by the restricted profile.
    pub restricted: bool,
}

/// Where the hosts of an added fleet were meant to stand.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AddedCentroid {
    /// For people; the fleet's name if there is none.
    pub label: Option<String>,
    /// The middle.
    pub at: GeoPoint,
    /// How far around it.
    pub radius_km: f64,
    /// How many hosts were wanted; as many as there are, if it is not said.
    pub desired_host_count: Option<u32>,
}

/// A private fleet as an operator adds it.
#[derive(Clone, PartialEq, Debug)]
pub struct AddedFleet {
    /// Its name.
    pub name: String,
    /// Where its hosts were meant to stand; `None` = where they do.
    pub centroid: Option<AddedCentroid>,
}

impl AddedFleet {
    /// The fleet with `hosts` hosts, the first of which stands at `first`.
    #[must_use]
    pub fn with_hosts(&self, hosts: usize, first: Option<GeoPoint>) -> PrivateFleet {
        let count = u32::try_from(hosts).unwrap_or(u32::MAX);
        let nowhere = GeoPoint { latitude: 0.0, longitude: 0.0 };
        let centroid = match &self.centroid {
            None => Centroid {
                label: self.name.clone(),
                at: first.unwrap_or(nowhere),
                radius_km: 0.0,
                desired_host_count: count,
            },
            Some(AddedCentroid { label, at, radius_km, desired_host_count }) => Centroid {
                label: label.clone().unwrap_or_else(|| self.name.clone()),
                at: *at,
                radius_km: *radius_km,
                desired_host_count: desired_host_count.unwrap_or(count),
            },
        };
        PrivateFleet { name: self.name.clone(), centroid }
    }
}

/// A stored host and since when it is there: who removes one and adds another of that name has two.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredHost {
    /// The host.
    pub host: AddedHost,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Whether a name may stand in labels, answers, paths and log lines.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(ok) && !matches!(name, "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_without_a_centroid_is_where_its_first_host_is() {
        let fleet = AddedFleet { name: "cup".into(), centroid: None };
        let at = GeoPoint { latitude: 50.0, longitude: 8.0 };
        let shown = fleet.with_hosts(2, Some(at)).centroid;
        assert_eq!((shown.label.as_str(), shown.at, shown.desired_host_count), ("cup", at, 2));
        let said = AddedCentroid { label: None, at, radius_km: 5.0, desired_host_count: Some(9) };
        let shown = AddedFleet { centroid: Some(said), ..fleet }.with_hosts(0, None).centroid;
        assert_eq!((shown.label.as_str(), shown.radius_km, shown.desired_host_count), ("cup", 5.0, 9));
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("chicago-1.b_c") && is_name(&"x".repeat(63)));
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\n"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(!is_name(&"x".repeat(64)));
    }
}
