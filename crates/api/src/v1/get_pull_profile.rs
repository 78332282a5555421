//! `GET /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}`: shows a pull profile.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{ProfilePath, StoragePath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, pull_profile::ProfileBody};

/// 200 with the profile; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
    operation_id = "pull-profile-get",
    tag = tag::STORAGE,
    summary = "Show a pull profile",
    description = "Needs a token that is bound to no application.",
    params(StoragePath, ProfilePath),
    responses(
        (status = 200, description = "The profile", body = ProfileBody),
        (status = 404, description = "There is no such storage or profile"),
    ),
)]
pub async fn get_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((storage, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (storage, name) = (path::storage(&storage)?, path::profile(&name)?);
    let profile = state.engine().get_profile(&caller.actor, &storage, &name).await?;
    Ok(wire::ok(&ProfileBody::of(&profile)))
}
