//! Where an address is.

use std::net::IpAddr;

use spawnpoint_model::geo::GeoPoint;

/// Looks up where an address is. Private, loopback and unknown addresses are nowhere.
pub trait Positions: Send + Sync + 'static {
    /// The position of `address`, if it is known.
    fn position(&self, address: IpAddr) -> Option<GeoPoint>;
}

/// Knows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPositions;

impl Positions for NoPositions {
    fn position(&self, _: IpAddr) -> Option<GeoPoint> {
        None
    }
}
