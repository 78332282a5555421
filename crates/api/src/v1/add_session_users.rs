//! `PUT /v1/session/{session_id}/users`: adds players to a session.

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

/// 200 with all players; 404; 422 if there is no room.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    put,
    path = "/v1/session/{session_id}/users",
    operation_id = "put-users-session",
    tag = tag::SESSIONS,
    summary = "Add players to a session",
    description = "One for each address; two may share one. On a deployment of the kind Seat each takes a socket.",
    params(SessionPath),
    request_body = session_body::UsersChangeBody,
    responses(
        (status = 200, description = "All players", body = session::UsersBody),
        (status = 404, description = "There is no such session"),
        (status = 422, description = "There is no room, or it sits on no deployment"),
    ),
)]
pub async fn add_session_users(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let id = path::session(&id)?;
    let ips = session_body::read_users(&body.object)?;
    let session = state.engine().add_session_users(&caller.actor, id, &ips).await?;
    Ok(wire::ok(&session::UsersBody::of(&session)))
}
