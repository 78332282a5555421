//! `PATCH /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}`: changes a pull profile, its name too.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{ProfilePath, StoragePath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, pull_profile};

/// 200 with the profile; 404; 409 if the new name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
    operation_id = "pull-profile-update",
    tag = tag::STORAGE,
    summary = "Change a pull profile",
    description = "Absent fields stay as they are. Deployments that exist stay as they are.",
    params(StoragePath, ProfilePath),
    request_body = pull_profile::ProfilePatchBody,
    responses(
        (status = 200, description = "The profile", body = pull_profile::ProfileBody),
        (status = 404, description = "There is no such storage or profile"),
        (status = 409, description = "The new name is taken"),
    ),
)]
pub async fn update_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((storage, name)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let patch = pull_profile::read_patch(&body.object)?;
    let (storage, name) = (path::storage(&storage)?, path::profile(&name)?);
    let profile = state.engine().update_profile(&caller.actor, &storage, &name, patch).await?;
    Ok(wire::ok(&pull_profile::ProfileBody::of(&profile)))
}
