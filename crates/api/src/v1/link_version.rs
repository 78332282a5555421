//! `PUT /v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}`: links a version to a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, SmartFleetPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the link, also if it was there; 404; 400 for a version without sockets.
///
/// # Errors
/// See above.
#[utoipa::path(
    put,
    path = "/v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}",
    operation_id = "fleet-link-app-version",
    tag = tag::FLEETS,
    summary = "Link a version to a fleet",
    description = "The fleet deploys it as its policies say. The version needs a session_config of the kind Seat or Match.",
    params(SmartFleetPath, AppPath, VersionPath),
    responses(
        (status = 200, description = "The link", body = fleet::LinkBody),
        (status = 404, description = "There is no such fleet, application or version"),
    ),
)]
pub async fn link_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((fleet_name, app, version)): Segments<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (fleet_name, app, version) = (path::fleet(&fleet_name)?, path::app(&app)?, path::version(&version)?);
    let link = state.engine().link_version(&caller.actor, &fleet_name, &app, &version).await?;
    Ok(wire::ok(&fleet::LinkBody::of(&link)))
}
