//! `GET /v1/storage/endpoint/{endpoint_name}`: shows an endpoint storage.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::StoragePath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, storage::StorageBody};

/// 200 with the storage, without its secret; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/storage/endpoint/{endpoint_name}",
    operation_id = "endpoint-get",
    tag = tag::STORAGE,
    summary = "Show an endpoint storage",
    description = "Without its secret. Needs a token that is bound to no application.",
    params(StoragePath),
    responses(
        (status = 200, description = "The storage", body = StorageBody),
        (status = 404, description = "There is no such storage"),
    ),
)]
pub async fn get_storage(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let storage = state.engine().get_storage(&caller.actor, &path::storage(&name)?).await?;
    Ok(wire::ok(&StorageBody::of(&storage)))
}
