//! `DELETE /v1/deployment/{request_id}/custom/session/{custom_id}`: deletes a session by the name that its user gave it.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{CustomIdPath, DeploymentPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/deployment/{request_id}/custom/session/{custom_id}",
    operation_id = "delete-custom-session",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Delete a custom session",
    description = "Its sockets are free; its deployment goes on.",
    params(DeploymentPath, CustomIdPath),
    responses(
        (status = 200, description = "It is deleted", body = session::DeletedBody),
        (status = 404, description = "There is no such deployment or session"),
    ),
)]
pub async fn delete_custom_session(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments((id, custom_id)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (id, custom_id) = (path::deployment(&id)?, path::custom_id(&custom_id)?);
    let deleted = state.engine().delete_custom_session(&caller.actor, id, &custom_id).await?;
    Ok(wire::ok(&session::DeletedBody::of(&deleted)))
}
