//! `PATCH /v1/deployment/{request_id}/custom/session/{custom_id}`: changes the players of a session.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{CustomIdPath, DeploymentPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session, session_body};

/// 200 with the session; 404; 422 if there is no room.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/deployment/{request_id}/custom/session/{custom_id}",
    operation_id = "patch-custom-session",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Change a custom session",
    description = "Its players, and whom it tells if that is said.",
    params(DeploymentPath, CustomIdPath),
    request_body = session_body::CustomSessionBody,
    responses(
        (status = 200, description = "The session", body = session::SessionBody),
        (status = 404, description = "There is no such deployment or session"),
        (status = 422, description = "There is no room"),
    ),
)]
pub async fn update_custom_session(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments((id, custom_id)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let (id, custom_id) = (path::deployment(&id)?, path::custom_id(&custom_id)?);
    let custom = session_body::read_custom(&body.object, custom_id)?;
    let view = state.engine().update_custom_session(&caller.actor, id, custom).await?;
    Ok(wire::ok(&session::SessionBody::of(&view, state.engine().now())))
}
