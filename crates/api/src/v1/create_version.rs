//! `POST /v1/app/{app_name}/version`: makes a version.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::openapi::params::AppPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionChangedBody, version_body};

/// 200 with the version; 404 for the application; 409 if the name is taken; 424 if the image was to be verified and its
/// registry does not have it.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/app/{app_name}/version",
    operation_id = "app-version-post",
    tag = tag::APPLICATIONS,
    summary = "Create a version",
    description = "Unknown fields are ignored.",
    params(AppPath),
    request_body = version_body::NewVersionBody,
    responses(
        (status = 200, description = "The version", body = VersionChangedBody),
        (status = 404, description = "There is no such application"),
        (status = 409, description = "The name is taken"),
        (status = 424, description = "`verify_image` was asked for, and the registry does not have the image"),
    ),
)]
pub async fn create_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(app): Segments<String>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let input = version_body::read_new(&body.object)?;
    let version = state.engine().create_version(&caller.actor, &path::app(&app)?, input).await?;
    let cached = state.engine().cached_share(&version.spec);
    Ok(wire::ok(&VersionChangedBody::of(&version, cached)))
}
