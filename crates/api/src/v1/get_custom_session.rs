//! `GET /v1/deployment/{request_id}/custom/session/{custom_id}`: shows a session by the name that its user gave it.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{CustomIdPath, DeploymentPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200 with the session; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/deployment/{request_id}/custom/session/{custom_id}",
    operation_id = "get-custom-session",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Show a custom session",
    description = "Until it is deleted or its deployment has ended.",
    params(DeploymentPath, CustomIdPath),
    responses(
        (status = 200, description = "The session", body = session::SessionBody),
        (status = 404, description = "There is no such deployment or session"),
    ),
)]
pub async fn get_custom_session(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((id, custom_id)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (id, custom_id) = (path::deployment(&id)?, path::custom_id(&custom_id)?);
    let view = state.engine().get_custom_session(&caller.actor, id, &custom_id).await?;
    Ok(wire::ok(&session::SessionBody::of(&view, state.engine().now())))
}
