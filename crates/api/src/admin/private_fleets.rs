//! `/spawnpoint/v1/private-fleets`: lists private fleets and shows one, adds and removes them.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::private_fleets::{FleetReport, HostReport};
use spawnpoint_model::added::{
    AddedCentroid, AddedFleet, HOSTS_WANTED_MAX, LABEL_CHARS_MAX, RADIUS_KM_MAX, is_name,
};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::{Invalid, Invalids};
use utoipa::ToSchema;

use crate::admin::hosts::Declared;
use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::limits::HOSTS_PAGE;
use crate::openapi::params::{PageQuery, PrivateFleetPath};
use crate::openapi::tag;
use crate::pagination::{Pagination, Parameters};
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, fleet_hosts::CentroidBody};

#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleet)]
struct FleetBody<'a> {
    #[schema(example = "tournament")]
    name: &'a str,
    declared: Declared,
    centroid: CentroidBody<'a>,
    /// Its hosts, without those that were given up.
    #[schema(example = json!(["chicago-1"]))]
    host_ids: Vec<&'a str>,
    /// How many of them take deployments that name them.
    #[schema(example = 1)]
    active_hosts: usize,
    /// Deployments on them.
    #[schema(example = 1)]
    deployments: u64,
}

impl<'a> FleetBody<'a> {
    fn of(report: &'a FleetReport) -> Self {
        let hosts = &report.hosts;
        Self {
            name: &report.fleet.name,
            declared: Declared::of(report.added),
            centroid: CentroidBody::of(&report.fleet.centroid),
            host_ids: hosts.iter().map(|host| host.host.id.as_str()).collect(),
            active_hosts: hosts.iter().filter(|host| host.is_active()).count(),
            deployments: hosts.iter().map(|HostReport { deployments, .. }| u64::from(*deployments)).sum(),
        }
    }
}

/// A private fleet as an operator sees it: the body of [`get`], for the command line without a server.
#[must_use]
pub fn fleet_json(report: &FleetReport) -> Value {
    serde_json::to_value(FleetBody::of(report)).unwrap_or_default()
}

/// A new private fleet, as [`read`] reads it.
#[derive(ToSchema)]
#[schema(as = NewPrivateFleet)]
pub struct NewFleetBody {
    /// Its name: letters, digits, dots, hyphens, underscores.
    #[schema(format = "plain-name", example = "tournament")]
    pub name: String,
    /// Where its hosts are meant to stand; without it, where the first of them stands.
    pub centroid: Option<NewCentroidBody>,
}

/// Where the hosts of a private fleet are meant to stand. Told to clients; nothing is decided by it.
#[derive(ToSchema)]
#[schema(as = NewPrivateFleetCentroid)]
pub struct NewCentroidBody {
    /// For people; the fleet's name if it is left out.
    #[schema(min_length = 1, max_length = 255, format = "line", example = "Midwest")]
    pub label: Option<String>,
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 41.88)]
    pub latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = -87.63)]
    pub longitude: f64,
    /// How far around it.
    #[schema(minimum = 0, maximum = 20040, default = 0, example = 500.0)]
    pub radius_km: Option<f64>,
    /// How many hosts are wanted; as many as there are if it is left out.
    #[schema(minimum = 0, maximum = 100_000, example = 2)]
    pub desired_host_count: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PrivateFleets)]
struct FleetListBody<'a> {
    data: Vec<FleetBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/private-fleets",
    operation_id = "spawnpoint-private-fleets-list",
    tag = tag::EXTENSIONS,
    summary = "List private fleets",
    description = "With their hosts.",
    params(PageQuery),
    responses((status = 200, description = "A page", body = FleetListBody)),
)]
pub async fn list(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let fleets = state.engine().list_private_fleets(&caller.actor, parameters.page(HOSTS_PAGE)?).await?;
    Ok(wire::ok(&FleetListBody {
        data: fleets.items.iter().map(FleetBody::of).collect(),
        total_count: fleets.total,
        pagination: Pagination::of(&fleets),
    }))
}

/// 201 with the private fleet; 409.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/spawnpoint/v1/private-fleets",
    operation_id = "spawnpoint-private-fleets-create",
    tag = tag::EXTENSIONS,
    summary = "Add a private fleet",
    description = "Beside those of the configuration. Hosts name it when they are added.",
    request_body = NewFleetBody,
    responses(
        (status = 201, description = "The private fleet", body = FleetBody),
        (status = 409, description = "There is one of this name already, or there are too many"),
    ),
)]
pub async fn create(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = read(&body.object)?;
    let fleet = state.engine().add_private_fleet(&caller.actor, new).await?;
    Ok(wire::json(StatusCode::CREATED, wire::to_json(&FleetBody::of(&fleet))))
}

/// 200 with the private fleet; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/spawnpoint/v1/private-fleets/{name}",
    operation_id = "spawnpoint-private-fleets-get",
    tag = tag::EXTENSIONS,
    summary = "Show a private fleet",
    description = "With its hosts.",
    params(PrivateFleetPath),
    responses(
        (status = 200, description = "The private fleet", body = FleetBody),
        (status = 404, description = "There is no such private fleet"),
    ),
)]
pub async fn get(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let fleet = state.engine().get_private_fleet(&caller.actor, &name).await?;
    Ok(wire::ok(&FleetBody::of(&fleet)))
}

/// 204; 404; 409.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/spawnpoint/v1/private-fleets/{name}",
    operation_id = "spawnpoint-private-fleets-delete",
    tag = tag::EXTENSIONS,
    summary = "Remove a private fleet",
    description = "One that was added over the API, once it has no hosts.",
    params(PrivateFleetPath),
    responses(
        (status = 204, description = "It is removed"),
        (status = 404, description = "There is no such private fleet"),
        (status = 409, description = "It is declared in the configuration, or has hosts"),
    ),
)]
pub async fn remove(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
) -> Result<StatusCode, ApiError> {
    state.engine().remove_private_fleet(&caller.actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A private fleet out of the body of [`create`].
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<AddedFleet, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("name");
    let name = body.parsed("name", plain_name);
    let centroid = body.object("centroid").and_then(|centroid| read_centroid(&centroid));
    match name {
        Some(name) if problems.is_empty() => Ok(AddedFleet { name, centroid }),
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

fn read_centroid(centroid: &Fields<'_>) -> Option<AddedCentroid> {
    centroid.require("latitude");
    centroid.require("longitude");
    let label = centroid.line("label", 1..=LABEL_CHARS_MAX).map(str::to_owned);
    let (latitude, longitude) = (centroid.number("latitude"), centroid.number("longitude"));
    let radius_km = centroid.number("radius_km").unwrap_or(0.0);
    if !(0.0..=RADIUS_KM_MAX).contains(&radius_km) {
        centroid.note("radius_km", format!("must be 0 to {RADIUS_KM_MAX}"));
    }
    let desired_host_count = centroid.integer("desired_host_count", 0..=i64::from(HOSTS_WANTED_MAX));
    let at = match GeoPoint::checked(latitude?, longitude?) {
        Ok(at) => at,
        Err(invalid) => {
            centroid.note(&invalid.field, invalid.problem);
            return None;
        }
    };
    Some(AddedCentroid { label, at, radius_km, desired_host_count })
}

/// The name of a site, a host, a private fleet.
pub(crate) fn plain_name(text: &str) -> Result<String, Invalid> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new("", "must be 1 to 63 letters, digits, dots, hyphens or underscores"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: Value) -> Vec<String> {
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
    }

    #[test]
    fn every_bad_field_of_a_fleet_is_named() {
        assert_eq!(fields(json!({"name": "cup"})), [""; 0]);
        let centroid =
            json!({"label": "x", "latitude": 1, "longitude": 2, "radius_km": 5, "desired_host_count": 3});
        assert_eq!(fields(json!({"name": "cup", "centroid": centroid})), [""; 0]);
        assert_eq!(fields(json!({})), ["name"]);
        assert_eq!(fields(json!({"name": "a/b", "centroid": 5})), ["name", "centroid"]);
        let bad = json!({"label": "", "longitude": "2", "radius_km": -1, "desired_host_count": 100_001});
        let named = fields(json!({"name": "cup", "centroid": bad}));
        let expected = ["latitude", "label", "longitude", "radius_km", "desired_host_count"];
        assert_eq!(named, expected.map(|field| format!("centroid.{field}")));
        let far = json!({"name": "cup", "centroid": {"latitude": 91, "longitude": 0}});
        assert_eq!(fields(far), ["centroid.latitude"]);
    }
}
