//! `POST /v1/storage/endpoint`: makes an endpoint storage.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, storage};

/// 200 with the storage, without its secret; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/storage/endpoint",
    operation_id = "endpoint-create",
    tag = tag::STORAGE,
    summary = "Create an endpoint storage",
    description = "A bucket of an S3 service for logs and files. The secret is encrypted and never shown. Needs a token with the scope admin that is bound to no application.",
    request_body = storage::NewStorageBody,
    responses(
        (status = 200, description = "The storage", body = storage::StorageBody),
        (status = 409, description = "The name is taken"),
    ),
)]
pub async fn create_storage(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = storage::read_new(&body.object)?;
    let storage = state.engine().create_storage(&caller.actor, new).await?;
    Ok(wire::ok(&storage::StorageBody::of(&storage)))
}
