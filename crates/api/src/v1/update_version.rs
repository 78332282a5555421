//! `PATCH /v1/app/{app_name}/version/{version_name}`: changes a version for the deployments to come.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::openapi::params::{AppPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionChangedBody, version_body};

/// 200 with the version; 404; 409 if the new name is taken; 424 as for a new version.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/app/{app_name}/version/{version_name}",
    operation_id = "app-versions-patch",
    tag = tag::APPLICATIONS,
    summary = "Change a version",
    description = "Absent fields stay as they are; `null` clears what can be empty. Deployments that run stay as they are.",
    params(AppPath, VersionPath),
    request_body = version_body::VersionPatchBody,
    responses(
        (status = 200, description = "The version", body = VersionChangedBody),
        (status = 404, description = "There is no such application or version"),
        (status = 409, description = "The new name is taken"),
        (status = 424, description = "`verify_image` was asked for, and the registry does not have the image"),
    ),
)]
pub async fn update_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version)): Segments<(String, String)>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let input = version_body::read_patch(&body.object)?;
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let version = state.engine().update_version(&caller.actor, &app, &version, input).await?;
    let cached = state.engine().cached_share(&version.spec);
    Ok(wire::ok(&VersionChangedBody::of(&version, cached)))
}
