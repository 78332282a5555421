//! Positions of addresses from a MaxMind-format city database (GeoLite2, DB-IP): the file is the operator's.
//!
//! What it must not know: who asks. It logs no address.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{LookupResult, PathElement, Reader, WithinOptions};
use spawnpoint_engine::Positions;
use spawnpoint_engine::positions::{Region, Whereabouts};
use spawnpoint_model::geo::GeoPoint;

/// Networks that are tried at the start, in search of a coordinate.
const NETWORKS_TRIED: usize = 10_000;

/// An open database, in memory as a whole.
pub struct GeoDatabase {
    reader: Reader<Vec<u8>>,
}

impl GeoDatabase {
    /// Opens the file and looks for a coordinate in it, so that a database of another kind is noticed at the start.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let reader = Reader::open_readfile(path)
            .map_err(|err| format!("geo.database: {} cannot be used: {err}", path.display()))?;
        let database = Self { reader };
        if !database.has_positions() {
            let kind = &database.reader.metadata().database_type;
            return Err(format!(
                "geo.database: {} ({kind}) holds no coordinates; a city database is wanted, as GeoLite2-City.mmdb",
                path.display()
            ));
        }
        Ok(database)
    }

    /// Whether one of the first networks has a coordinate.
    fn has_positions(&self) -> bool {
        let networks = self.reader.networks(WithinOptions::default());
        let mut first = networks.into_iter().flatten().take(NETWORKS_TRIED).flatten();
        first.any(|found| coordinates(&found).is_some())
    }

    /// Which database it is and of which day (seconds since 1970), for the log.
    #[must_use]
    pub fn describe(&self) -> (&str, u64) {
        let metadata = self.reader.metadata();
        (&metadata.database_type, metadata.build_epoch)
    }
}

impl Positions for GeoDatabase {
    fn position(&self, address: IpAddr) -> Option<GeoPoint> {
        let address = address.to_canonical();
        if !is_public(address) {
            return None;
        }
        coordinates(&self.reader.lookup(address).ok()?)
    }

    fn whereabouts(&self, address: IpAddr) -> Option<Whereabouts> {
        let address = address.to_canonical();
        if !is_public(address) {
            return None;
        }
        let found = self.reader.lookup(address).ok()?;
        let continent = region(&found, "continent", "code");
        let country = region(&found, "country", "iso_code");
        let known = Whereabouts { continent, country, point: coordinates(&found) };
        (known != Whereabouts::default()).then_some(known)
    }
}

/// A continent or a country of a record, with its English name.
fn region(found: &LookupResult<'_, Vec<u8>>, key: &str, code: &str) -> Option<Region> {
    let text = |path: &[PathElement<'_>]| found.decode_path::<String>(path).ok().flatten();
    let code = text(&[PathElement::Key(key), PathElement::Key(code)]);
    let name = text(&[PathElement::Key(key), PathElement::Key("names"), PathElement::Key("en")]);
    (code.is_some() || name.is_some()).then_some(Region { code, name })
}

/// The point of a record: in `location`, as MaxMind and DB-IP write it, or beside it, as smaller publishers do.
fn coordinates(found: &LookupResult<'_, Vec<u8>>) -> Option<GeoPoint> {
    let degrees = |name| {
        let nested = [PathElement::Key("location"), PathElement::Key(name)];
        let value = |path: &[PathElement<'_>]| found.decode_path::<f64>(path).ok().flatten();
        value(&nested).or_else(|| value(&nested[1..]))
    };
    GeoPoint::checked(degrees("latitude")?, degrees("longitude")?).ok()
}

/// Whether an address can be anywhere on earth: not private, loopback, link-local, shared (carrier NAT) or none at all.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
            !(v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests;
