//! Points on the earth.

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// A point in degrees.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct GeoPoint {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
}

impl GeoPoint {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the coordinate that is out of range or not a number.
    pub fn checked(latitude: f64, longitude: f64) -> Result<Self, Invalid> {
        if !(-90.0..=90.0).contains(&latitude) {
            return Err(Invalid::new("latitude", "must be a number from -90 to 90"));
        }
        if !(-180.0..=180.0).contains(&longitude) {
            return Err(Invalid::new("longitude", "must be a number from -180 to 180"));
        }
        Ok(Self { latitude, longitude })
    }
}
