//! `DELETE …/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}`: takes a link away.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, ProfilePath, StoragePath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;

/// 204; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}/app/{app_name}/version/{version_name}",
    operation_id = "pull-profile-unlink-app-version",
    tag = tag::STORAGE,
    summary = "Unlink a pull profile from a version",
    description = "The profile stays as it is.",
    params(StoragePath, ProfilePath, AppPath, VersionPath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such link"),
    ),
)]
pub async fn unlink_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(names): Segments<path::LinkNames>,
) -> Result<Response, ApiError> {
    let (storage, profile, app, version) = path::link(&names)?;
    state.engine().unlink_profile(&caller.actor, &storage, &profile, &app, &version).await?;
    Ok(wire::no_content())
}
