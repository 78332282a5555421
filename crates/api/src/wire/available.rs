//! The body and the answer of `POST /v1/deployments:available`.
//!
//! Coordinates win over addresses, as they do in a deploy request.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::Player;
use spawnpoint_engine::available::{Available, AvailableQuery};
use spawnpoint_model::limits::USERS_MAX;
use spawnpoint_model::query::Paged;
use spawnpoint_model::{AppName, DeploymentId, Invalid, Invalids, VersionName};
use utoipa::ToSchema;

use super::deploy_v2::{address, point};
use super::parts::{AddressText, Shown};
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// Characters of the name of a place.
const PLACE_CHARS_MAX: usize = 255;

/// What is looked for.
#[derive(ToSchema)]
#[schema(as = Available)]
pub struct AvailableQueryBody {
    /// The application.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub app_name: String,
    /// The version.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub app_version: String,
    /// So many sockets have to be free; 0 is taken for 1.
    #[schema(minimum = 0, maximum = 2_147_483_647, example = 1)]
    pub minimum_sockets: Option<u32>,
    /// Addresses of the players: the nearest deployments come first.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Option<Vec<AddressText>>,
    /// Only deployments in this city, administrative division, country or continent.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub location: Option<String>,
    /// Degrees north of the point that the nearest are asked for; wins over the addresses, needs `longitude`.
    #[schema(minimum = -90, maximum = 90, example = 45.75)]
    pub latitude: Option<f64>,
    /// Degrees east of it.
    #[schema(minimum = -180, maximum = 180, example = 4.85)]
    pub longitude: Option<f64>,
}

/// Reads what is looked for.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<AvailableQuery, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("app_name");
    body.require("app_version");
    let app = body.parsed("app_name", AppName::parse);
    let version = body.parsed("app_version", VersionName::parse);
    let minimum_sockets = body.integer("minimum_sockets", 0..=i64::from(i32::MAX)).unwrap_or(1);
    let addresses = body.texts("ip_list", USERS_MAX, address).unwrap_or_default();
    let has_point = body.value("latitude").is_some() || body.value("longitude").is_some();
    let at = if has_point { point(&body) } else { None };
    let players = match at {
        Some(at) => vec![Player::At(at)],
        None => addresses.into_iter().map(Player::Address).collect(),
    };
    let place = body
        .line("location", 0..=PLACE_CHARS_MAX)
        .filter(|place| !place.trim().is_empty())
        .map(str::to_owned);
    problems.into_result()?;
    let missing = |key: &str| Invalids::from(Invalid::new(key, "is missing"));
    Ok(AvailableQuery {
        app: app.ok_or_else(|| missing("app_name"))?,
        version: version.ok_or_else(|| missing("app_version"))?,
        minimum_sockets,
        players,
        place,
    })
}

/// The answer.
#[derive(Serialize, ToSchema)]
#[schema(as = AvailableDeployments)]
pub struct AvailableListBody<'a> {
    data: Vec<AvailableBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// A deployment with room.
#[derive(Serialize, ToSchema)]
#[schema(as = AvailableDeployment)]
struct AvailableBody<'a> {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
    #[schema(example = "arena")]
    app_name: &'a str,
    #[schema(example = "v7")]
    app_version: &'a str,
    /// Sockets that nobody holds.
    #[schema(example = 5)]
    available_sockets: u32,
}

impl<'a> AvailableListBody<'a> {
    /// Of a page of deployments.
    #[must_use]
    pub fn of(paged: &'a Paged<Available>) -> Self {
        let item = |available: &'a Available| AvailableBody {
            request_id: Shown(available.deployment.id),
            app_name: available.deployment.spec.app.as_str(),
            app_version: available.deployment.spec.version.as_str(),
            available_sockets: available.sockets,
        };
        let data = paged.items.iter().map(item).collect();
        Self { data, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_with(key: &str, value: Value) -> Result<AvailableQuery, Invalids> {
        let mut body = json!({"app_name": "arena", "app_version": "v1"});
        body[key] = value;
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object)
    }

    #[test]
    fn coordinates_win_over_addresses_and_blank_places_are_none() {
        let query = read_with("ip_list", json!(["192.0.2.1"])).unwrap();
        assert_eq!(query.players, [Player::Address("192.0.2.1".parse().unwrap())]);
        assert_eq!(query.minimum_sockets, 1);
        let body = json!({"app_name": "a", "app_version": "b", "ip_list": ["192.0.2.1"], "latitude": 1, "longitude": 2});
        let Value::Object(object) = body else { unreachable!("an object") };
        assert!(matches!(read(&object).unwrap().players[..], [Player::At(_)]));
        assert_eq!(read_with("location", json!(" ")).unwrap().place, None);
    }

    #[test]
    fn bad_fields_are_named() {
        for (key, value) in [
            ("app_name", Value::Null),
            ("app_version", json!(5)),
            ("minimum_sockets", json!(-1)),
            ("minimum_sockets", json!("5")),
            ("ip_list", json!("192.0.2.1")),
            ("location", json!({})),
            ("location", json!("a\u{0}")),
            ("latitude", json!("1")),
            ("longitude", json!([])),
        ] {
            let problems = read_with(key, value.clone()).expect_err("it is refused");
            assert!(
                !problems.0.is_empty() && problems.to_string().contains(key),
                "{key} {value}: {problems}"
            );
        }
        assert_eq!(
            read_with("ip_list", json!(["192.0.2.1", "x"])).expect_err("refused").0[0].field,
            "ip_list[1]"
        );
    }
}
