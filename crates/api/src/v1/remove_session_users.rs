//! `DELETE /v1/session/{session_id}/users`: takes players out of a session.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::SessionPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session, session_body};

/// 200 with the others; 404.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    delete,
    path = "/v1/session/{session_id}/users",
    operation_id = "delete-users-session",
    tag = tag::SESSIONS,
    summary = "Take players out of a session",
    description = "One for each address; those who are not there are passed over.",
    params(SessionPath),
    request_body = session_body::UsersChangeBody,
    responses(
        (status = 200, description = "The other players", body = session::UsersBody),
        (status = 404, description = "There is no such session"),
        (status = 422, description = "It sits on no deployment"),
    ),
)]
pub async fn remove_session_users(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let id = path::session(&id)?;
    let ips = session_body::read_users(&body.object)?;
    let session = state.engine().remove_session_users(&caller.actor, id, &ips).await?;
    Ok(wire::ok(&session::UsersBody::of(&session)))
}
