//! `DELETE /v1/session/{session_id}`: deletes a session.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::SessionPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200; 404; 410 once it has ended.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/session/{session_id}",
    operation_id = "session-delete",
    tag = tag::SESSIONS,
    summary = "Delete a session",
    description = "Its sockets are free; its deployment goes on.",
    params(SessionPath),
    responses(
        (status = 200, description = "It is deleted", body = session::DeletedBody),
        (status = 404, description = "There is no such session"),
        (status = 410, description = "It has ended already"),
    ),
)]
pub async fn delete_session(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = path::session(&id)?;
    let deleted = state.engine().delete_session(&caller.actor, id).await?;
    Ok(wire::ok(&session::DeletedBody::of(&deleted)))
}
