//! `GET /v1/session/{session_id}/users`: lists the players of a session.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::SessionPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200 with the players; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/session/{session_id}/users",
    operation_id = "get-users-session",
    tag = tag::SESSIONS,
    summary = "List the players of a session",
    description = "In the order in which they came.",
    params(SessionPath),
    responses(
        (status = 200, description = "They", body = session::UsersBody),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn list_session_users(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = path::session(&id)?;
    let session = state.engine().list_session_users(&caller.actor, id).await?;
    Ok(wire::ok(&session::UsersBody::of(&session)))
}
