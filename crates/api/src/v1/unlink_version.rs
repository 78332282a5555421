//! `DELETE /v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}`: takes a version off a smart fleet.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, SmartFleetPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;

/// 204; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/fleet/{fleet_name}/app/{app_name}/version/{version_name}",
    operation_id = "fleet-unlink-app-version",
    tag = tag::FLEETS,
    summary = "Take a version off a fleet",
    description = "Its deployments go on.",
    params(SmartFleetPath, AppPath, VersionPath),
    responses(
        (status = 204, description = "It is taken off"),
        (status = 404, description = "There is no such fleet, or the version is not linked"),
    ),
)]
pub async fn unlink_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((fleet_name, app, version)): Segments<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let (fleet_name, app, version) = (path::fleet(&fleet_name)?, path::app(&app)?, path::version(&version)?);
    state.engine().unlink_version(&caller.actor, &fleet_name, &app, &version).await?;
    Ok(StatusCode::NO_CONTENT)
}
