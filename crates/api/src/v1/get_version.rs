//! `GET /v1/app/{app_name}/version/{version_name}`: shows a version.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionBody};

/// 200 with the version, not wrapped; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/app/{app_name}/version/{version_name}",
    operation_id = "app-version-get",
    tag = tag::APPLICATIONS,
    summary = "Show a version",
    description = "Secrets are masked; hidden variables have no value.",
    params(AppPath, VersionPath),
    responses(
        (status = 200, description = "The version", body = VersionBody),
        (status = 404, description = "There is no such application or version"),
    ),
)]
pub async fn get_version(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((app, version)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let version = state.engine().get_version(&caller.actor, &app, &version).await?;
    let cached = state.engine().cached_share(&version.spec);
    Ok(wire::ok(&VersionBody::of(&version, cached)))
}
