//! Databases are written by the tests themselves, as those of `compat` are.

#[path = "../../../../compat/src/mmdb.rs"]
mod mmdb;

use super::*;
use mmdb::{Value, city, database, point};

fn open(networks: &[(&str, usize, Value<'_>)]) -> Result<GeoDatabase, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("city.mmdb");
    std::fs::write(&path, database(networks)).unwrap();
    GeoDatabase::open(&path)
}

#[test]
fn an_address_has_the_position_of_its_network() {
    let geo = open(&[
        ("81.2.69.0", 24, Value::Map(vec![("location", point(51.5, -0.12))])),
        ("89.160.20.112", 28, Value::Map(vec![("location", point(59.33, 18.07))])),
        ("2001:218::", 32, point(35.68, 139.69)),
    ])
    .unwrap();
    let at = |address: &str| geo.position(address.parse().unwrap()).map(|p| (p.latitude, p.longitude));
    assert_eq!(at("81.2.69.160"), Some((51.5, -0.12)));
    assert_eq!(at("89.160.20.113"), Some((59.33, 18.07)));
    assert_eq!(at("89.160.20.128"), None, "the next network");
    assert_eq!(at("2001:218::7"), Some((35.68, 139.69)), "coordinates that stand at the top of the record");
    assert_eq!(at("::ffff:81.2.69.160"), Some((51.5, -0.12)), "IPv4 written as IPv6");
}

#[test]
fn a_lookup_tells_continent_country_and_position_as_far_as_the_record_has_them() {
    let whole = city(("EU", "Europe"), ("GB", "United Kingdom"), 51.5, -0.12);
    let country = Value::Map(vec![("country", Value::Map(vec![("iso_code", Value::Text("SE"))]))]);
    let nothing = Value::Map(vec![("traits", Value::Text("x"))]);
    let geo =
        open(&[("81.2.69.0", 24, whole), ("89.160.20.112", 28, country), ("1.1.1.0", 24, nothing)]).unwrap();
    let at = |address: &str| geo.whereabouts(address.parse().unwrap());
    let region = |code: &str, name: Option<&str>| {
        Some(Region { code: Some(code.to_owned()), name: name.map(str::to_owned) })
    };
    let london = Whereabouts {
        continent: region("EU", Some("Europe")),
        country: region("GB", Some("United Kingdom")),
        point: GeoPoint::checked(51.5, -0.12).ok(),
    };
    assert_eq!(at("81.2.69.160"), Some(london.clone()));
    assert_eq!(at("::ffff:81.2.69.160"), Some(london));
    let sweden = Whereabouts { country: region("SE", None), ..Whereabouts::default() };
    assert_eq!(at("89.160.20.113"), Some(sweden));
    for unknown in ["1.1.1.1", "8.8.8.8", "10.1.2.3", "127.0.0.1", "::1"] {
        assert_eq!(at(unknown), None, "{unknown}");
    }
}

#[test]
fn private_and_loopback_addresses_are_nowhere_even_if_the_database_says_otherwise() {
    let everywhere = || Value::Map(vec![("location", point(1.0, 2.0))]);
    let geo = open(&[("0.0.0.0", 1, everywhere()), ("128.0.0.0", 1, everywhere())]).unwrap();
    let at = |address: &str| geo.position(address.parse().unwrap());
    assert!(at("8.8.8.8").is_some());
    for private in [
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
    ] {
        assert_eq!(at(private), None, "{private}");
    }
}

#[test]
fn a_database_without_coordinates_is_refused_at_the_start() {
    let err = open(&[("81.2.69.0", 24, Value::Map(vec![("country", Value::Text("GB"))]))]).err().unwrap();
    assert!(err.contains("holds no coordinates"), "{err}");
}

#[test]
fn a_position_outside_the_globe_is_no_position() {
    let geo = open(&[("81.2.69.0", 24, point(91.0, 0.0)), ("81.2.70.0", 24, point(1.0, 1.0))]).unwrap();
    assert_eq!(geo.position("81.2.69.1".parse().unwrap()), None);
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "hello").unwrap();
    let err = GeoDatabase::open(&path).err().unwrap();
    assert!(err.contains("notes.txt"), "{err}");
}
