//! Locations and beacons: the query, and both lists.

use serde::Serialize;
use spawnpoint_engine::locations::{Locations, PlacedBeacon, RoomFor};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::site::Site;
use spawnpoint_model::{AppName, Invalid, Invalids, VersionName};
use utoipa::ToSchema;

use super::parts::Place;
use crate::pagination::{Pagination, Parameters};

/// The one type of locations.
const TYPE: &str = "standard";

/// Which locations are asked for, and how they are shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Query {
    /// Only those with room for this.
    pub room_for: Option<RoomFor>,
    /// Only those of a type that there is.
    pub is_known_type: bool,
    /// Whether tags are shown.
    pub with_tags: bool,
}

/// Reads the parameters. An empty one is absent, as some clients send those that they do not use.
///
/// # Errors
/// Every bad one.
pub fn read(parameters: &Parameters) -> Result<Query, Invalids> {
    let mut invalids = Invalids::default();
    let given = |name: &str| parameters.get(name).filter(|text| !text.trim().is_empty());
    let app = given("app").and_then(|text| invalids.check("app", AppName::parse(text)));
    let version = given("version").and_then(|text| invalids.check("version", VersionName::parse(text)));
    if given("version").is_some() && given("app").is_none() {
        invalids.add("app", "is missing: a version is one of an application");
    }
    let with_tags = match given("tags").map(|text| text.trim().to_lowercase()).as_deref() {
        None | Some("false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => {
            invalids.push(Invalid::new("tags", "must be true or false"));
            false
        }
    };
    let is_known_type = given("type").is_none_or(|text| text.trim().eq_ignore_ascii_case(TYPE));
    invalids.into_result()?;
    Ok(Query { room_for: app.map(|app| RoomFor { app, version }), is_known_type, with_tags })
}

/// Locations.
#[derive(Serialize, ToSchema)]
#[schema(as = Locations)]
pub struct LocationsBody<'a> {
    locations: Vec<LocationBody<'a>>,
    /// What is to be said besides.
    #[schema(example = json!(["1 location has no room for this now"]))]
    messages: Vec<String>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// A place on which one can deploy.
#[derive(Serialize, ToSchema)]
#[schema(as = Location)]
struct LocationBody<'a> {
    #[serde(flatten)]
    place: Place<'a>,
    /// There is one type.
    #[schema(example = "standard")]
    r#type: &'static str,
    /// If they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<LocationTag>, required = false)]
    tags: Option<Vec<LocationTag<'a>>>,
}

/// A word by which filters (`location_tags`) find locations. Key and value are the same.
#[derive(Serialize, ToSchema)]
#[schema(as = LocationTag)]
struct LocationTag<'a> {
    #[schema(example = "emea")]
    key: &'a str,
    #[schema(example = "emea")]
    value: &'a str,
}

impl<'a> LocationsBody<'a> {
    /// Of a page of sites.
    #[must_use]
    pub fn of(found: &'a Locations, with_tags: bool) -> Self {
        let location = |site: &'a std::sync::Arc<Site>| LocationBody {
            place: Place::at(&site.location),
            r#type: TYPE,
            tags: with_tags
                .then(|| site.tags.iter().map(|tag| LocationTag { key: tag, value: tag }).collect()),
        };
        let messages = match found.without_room {
            0 => Vec::new(),
            1 => vec!["1 location has no room for this now".to_owned()],
            count => vec![format!("{count} locations have no room for this now")],
        };
        Self {
            locations: found.sites.items.iter().map(location).collect(),
            messages,
            total_count: found.sites.total,
            pagination: Pagination::of(&found.sites),
        }
    }

    /// Of a type that there is none of.
    #[must_use]
    pub fn none(page: Page) -> Self {
        let pagination = Pagination::of(&Paged::<()> { items: Vec::new(), total: 0, page });
        let messages = vec![format!("every location is of the type {TYPE}")];
        Self { locations: Vec::new(), messages, total_count: 0, pagination }
    }
}

/// Beacons.
#[derive(Serialize, ToSchema)]
#[schema(as = LocationBeaconList)]
pub struct BeaconsBody<'a> {
    locations: Vec<BeaconBody<'a>>,
    /// How many there are.
    #[schema(example = 1)]
    count: usize,
}

/// What answers pings at a location.
#[derive(Serialize, ToSchema)]
#[schema(as = LocationBeacon)]
struct BeaconBody<'a> {
    /// Its address or name.
    #[schema(example = "203.0.113.40")]
    host: &'a str,
    /// The same: a newer field for the same thing.
    #[schema(example = "203.0.113.40")]
    fqdn: &'a str,
    /// Datagrams that are sent there come back; absent if they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u16, required = false, minimum = 1, maximum = 59_999, example = 8090)]
    udp_port: Option<u16>,
    /// Connections are answered there, and what is sent over them comes back; absent if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u16, required = false, minimum = 1, maximum = 59_999, example = 8090)]
    tcp_port: Option<u16>,
    location: Place<'a>,
}

impl<'a> BeaconsBody<'a> {
    /// Of beacons.
    #[must_use]
    pub fn of(beacons: &'a [PlacedBeacon]) -> Self {
        let body = |placed: &'a PlacedBeacon| BeaconBody {
            host: &placed.beacon.host,
            fqdn: &placed.beacon.host,
            udp_port: placed.beacon.udp_port,
            tcp_port: placed.beacon.tcp_port,
            location: Place::at(&placed.location),
        };
        Self { locations: beacons.iter().map(body).collect(), count: beacons.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Result<Query, Invalids> {
        read(&Parameters::read(Some(text)))
    }

    #[test]
    fn parameters_that_are_absent_or_empty_ask_for_everything() {
        let all = Query { room_for: None, is_known_type: true, with_tags: false };
        for text in ["", "app=&version=&type=&tags=", "tags=false", "type=Standard", "whatever=1"] {
            assert_eq!(query(text).as_ref(), Ok(&all), "{text}");
        }
        assert!(query("tags=true").unwrap().with_tags);
        assert!(!query("type=edge").unwrap().is_known_type);
    }

    #[test]
    fn a_bad_parameter_is_named() {
        for (text, field) in [
            ("version=v1", "app"),
            ("app=a%00", "app"),
            ("app=a&version=%1b", "version"),
            ("tags=yes", "tags"),
        ] {
            let invalids = query(text).expect_err("it is refused");
            assert_eq!(invalids.0[0].field, field, "{text}");
        }
    }
}
