//! `DELETE /v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}`: removes a pull profile and its links.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{ProfilePath, StoragePath};
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
    path = "/v1/storage/endpoint/{endpoint_name}/pull-profile/{pull_profile_name}",
    operation_id = "pull-profile-delete",
    tag = tag::STORAGE,
    summary = "Delete a pull profile",
    description = "Its links go with it; the bucket stays as it is.",
    params(StoragePath, ProfilePath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such storage or profile"),
    ),
)]
pub async fn delete_pull_profile(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((storage, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (storage, name) = (path::storage(&storage)?, path::profile(&name)?);
    state.engine().delete_profile(&caller.actor, &storage, &name).await?;
    Ok(wire::no_content())
}
