//! `PATCH /v1/storage/endpoint/{endpoint_name}`: changes an endpoint storage, its name too.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::StoragePath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, storage};

/// 200 with the storage, without its secret; 404; 409 if the new name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/storage/endpoint/{endpoint_name}",
    operation_id = "endpoint-update",
    tag = tag::STORAGE,
    summary = "Change an endpoint storage",
    description = "Absent fields stay as they are. A new name takes pull profiles along, and versions that say the old one still mean it. Uploads that wait for this storage are tried at once.",
    params(StoragePath),
    request_body = storage::StoragePatchBody,
    responses(
        (status = 200, description = "The storage", body = storage::StorageBody),
        (status = 404, description = "There is no such storage"),
        (status = 409, description = "The new name is taken"),
    ),
)]
pub async fn update_storage(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let patch = storage::read_patch(&body.object)?;
    let storage = state.engine().update_storage(&caller.actor, &path::storage(&name)?, patch).await?;
    Ok(wire::ok(&storage::StorageBody::of(&storage)))
}
