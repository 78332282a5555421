//! `DELETE /v1/storage/endpoint/{endpoint_name}`: removes an endpoint storage with its pull profiles.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::StoragePath;
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
    path = "/v1/storage/endpoint/{endpoint_name}",
    operation_id = "endpoint-delete",
    tag = tag::STORAGE,
    summary = "Delete an endpoint storage",
    description = "Its pull profiles go with it, and logs on their way into it are given up.",
    params(StoragePath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such storage"),
    ),
)]
pub async fn delete_storage(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    state.engine().delete_storage(&caller.actor, &path::storage(&name)?).await?;
    Ok(wire::no_content())
}
