//! `PUT …/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}`: links a pull profile to a version.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, ProfilePath, StoragePath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, pull_profile::LinkBody};

/// 200 with the link, also if it was there; 404 for any of the four.
///
/// # Errors
/// See above.
#[utoipa::path(
    put,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}",
    operation_id = "pull-profile-link-app-version",
    tag = tag::STORAGE,
    summary = "Link a pull profile to a version",
    description = "Deployments of the version from now on are given the files. May be repeated.",
    params(StoragePath, ProfilePath, AppPath, VersionPath),
    responses(
        (status = 200, description = "The link", body = LinkBody),
        (status = 404, description = "There is no such storage, profile, application or version"),
        (status = 409, description = "The version has too many pull profiles"),
    ),
)]
pub async fn link_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(names): Segments<path::LinkNames>,
) -> Result<Response, ApiError> {
    let (storage, profile, app, version) = path::link(&names)?;
    let link = state.engine().link_profile(&caller.actor, &storage, &profile, &app, &version).await?;
    Ok(wire::ok(&LinkBody::of(&link)))
}
