//! Where an address is.

use std::net::IpAddr;

use spawnpoint_model::geo::GeoPoint;

/// A continent or a country, as a database names it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Region {
    /// `EU`, `FR`.
    pub code: Option<String>,
    /// In English.
    pub name: Option<String>,
}

/// What is known of an address.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Whereabouts {
    /// Its continent.
    pub continent: Option<Region>,
    /// Its country.
    pub country: Option<Region>,
    /// Where about it is.
    pub point: Option<GeoPoint>,
}

/// Looks up where an address is. Private, loopback and unknown addresses are nowhere.
pub trait Positions: Send + Sync + 'static {
    /// The position of `address`, if it is known.
    fn position(&self, address: IpAddr) -> Option<GeoPoint>;

    /// Everything that is known of `address`; `None` if that is nothing.
    fn whereabouts(&self, address: IpAddr) -> Option<Whereabouts> {
        let point = self.position(address)?;
        Some(Whereabouts { point: Some(point), ..Whereabouts::default() })
    }
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPositions;

impl Positions for NoPositions {
    fn position(&self, _: IpAddr) -> Option<GeoPoint> {
        None
    }
}
