//! `POST /v1/storage/endpoint/{endpoint_name}/pull-profile`: makes a pull profile.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::StoragePath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, pull_profile};

/// 200 with the profile; 404 for the storage; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile",
    operation_id = "pull-profile-create",
    tag = tag::STORAGE,
    summary = "Create a pull profile",
    description = "Files of the bucket that are copied into containers before they start: into those of the versions that the profile is linked to.",
    params(StoragePath),
    request_body = pull_profile::NewProfileBody,
    responses(
        (status = 200, description = "The profile", body = pull_profile::ProfileBody),
        (status = 404, description = "There is no such storage"),
        (status = 409, description = "The name is taken"),
    ),
)]
pub async fn create_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(storage): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = pull_profile::read_new(&body.object)?;
    let storage = path::storage(&storage)?;
    let profile = state.engine().create_profile(&caller.actor, &storage, new).await?;
    Ok(wire::ok(&pull_profile::ProfileBody::of(&profile)))
}
