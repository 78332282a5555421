//! What is known of addresses: the body of the bulk call, and both answers.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::lookup::Located;
use spawnpoint_engine::positions::Region;
use spawnpoint_model::Invalids;
use spawnpoint_model::limits::LOOKUP_ADDRESSES_MAX;
use utoipa::ToSchema;

use super::deploy_v2::address;
use super::parts::{AddressText, Shown};
use crate::fields::{Fields, Problems};

/// Addresses to look up.
#[derive(ToSchema)]
#[schema(as = IPAddressesLookup)]
pub struct LookupBody {
    /// The addresses.
    #[schema(max_items = 20, example = json!(["198.51.100.7"]))]
    pub addresses: Vec<AddressText>,
}

/// Reads the addresses.
///
/// # Errors
/// Every bad one.
pub fn read(object: &Map<String, Value>) -> Result<Vec<IpAddr>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("addresses");
    let addresses = body.texts("addresses", LOOKUP_ADDRESSES_MAX, address).unwrap_or_default();
    problems.into_result()?;
    Ok(addresses)
}

/// Reads the address in a path.
///
/// # Errors
/// It is none.
pub fn read_one(text: &str) -> Result<IpAddr, Invalids> {
    address(text).map_err(|invalid| invalid.within("ip").into())
}

/// An address and what is known of it.
#[derive(Serialize, ToSchema)]
#[schema(as = IPAddressLookupResponse)]
pub struct LocatedBody<'a> {
    /// `ipv4` or `ipv6`.
    #[schema(example = "ipv4")]
    r#type: &'static str,
    /// The address; an IPv4 address that was written as IPv6 is shown as what it is.
    #[schema(value_type = String, example = "198.51.100.7")]
    ip_address: Shown<IpAddr>,
    /// `null` for private and unknown addresses, and where no database is configured.
    #[schema(required)]
    location: Option<AddressLocation<'a>>,
}

/// Where an address is.
#[derive(Serialize, ToSchema)]
#[schema(as = IPAddressLookupLocation)]
struct AddressLocation<'a> {
    #[schema(required, example = json!({"code": "EU", "name": "Europe"}))]
    continent: Option<RegionBody<'a>>,
    #[schema(required)]
    country: Option<RegionBody<'a>>,
    /// Degrees north, about.
    #[schema(required, example = 45.75)]
    latitude: Option<f64>,
    /// Degrees east, about.
    #[schema(required, example = 4.85)]
    longitude: Option<f64>,
}

/// A continent or a country.
#[derive(Serialize, ToSchema)]
#[schema(as = IPAddressLookupRegion)]
struct RegionBody<'a> {
    /// Two letters.
    #[schema(required, example = "FR")]
    code: Option<&'a str>,
    /// In English.
    #[schema(required, example = "France")]
    name: Option<&'a str>,
}

impl<'a> RegionBody<'a> {
    fn of(region: &'a Region) -> Self {
        Self { code: region.code.as_deref(), name: region.name.as_deref() }
    }
}

impl<'a> LocatedBody<'a> {
    /// Of an address.
    #[must_use]
    pub fn of(located: &'a Located) -> Self {
        let location = located.whereabouts.as_ref().map(|known| AddressLocation {
            continent: known.continent.as_ref().map(RegionBody::of),
            country: known.country.as_ref().map(RegionBody::of),
            latitude: known.point.map(|point| point.latitude),
            longitude: known.point.map(|point| point.longitude),
        });
        let kind = if located.address.is_ipv4() { "ipv4" } else { "ipv6" };
        Self { r#type: kind, ip_address: Shown(located.address), location }
    }
}

/// Addresses, in the order in which they were asked for.
#[derive(Serialize, ToSchema)]
#[schema(as = IPAddressesLookupResponse)]
pub struct LocatedListBody<'a> {
    addresses: Vec<LocatedBody<'a>>,
}

impl<'a> LocatedListBody<'a> {
    /// Of addresses.
    #[must_use]
    pub fn of(located: &'a [Located]) -> Self {
        Self { addresses: located.iter().map(LocatedBody::of).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn addresses(value: Value) -> Result<Vec<IpAddr>, Invalids> {
        let mut body = Map::new();
        body.insert("addresses".to_owned(), value);
        read(&body)
    }

    #[test]
    fn addresses_of_both_families_are_read() {
        let read = addresses(json!(["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])).unwrap();
        assert_eq!(
            read.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.1", "2001:db8::1", "192.0.2.1"]
        );
        assert_eq!(addresses(json!([])), Ok(vec![]));
        assert!(addresses(json!(vec!["192.0.2.1"; LOOKUP_ADDRESSES_MAX])).is_ok());
    }

    #[test]
    fn what_is_no_address_or_too_many_is_named() {
        for (value, field) in [
            (Value::Null, "addresses"),
            (json!("192.0.2.1"), "addresses"),
            (json!(vec!["192.0.2.1"; LOOKUP_ADDRESSES_MAX + 1]), "addresses"),
            (json!(["192.0.2.1", "here"]), "addresses[1]"),
            (json!([7]), "addresses[0]"),
            (json!(["192.0.2.1/8"]), "addresses[0]"),
        ] {
            assert_eq!(addresses(value.clone()).expect_err("refused").0[0].field, field, "{value}");
        }
        assert_eq!(read_one("nowhere").expect_err("refused").0[0].field, "ip");
    }
}
