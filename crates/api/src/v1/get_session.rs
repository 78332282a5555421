//! `GET /v1/session/{session_id}`: shows a session with its deployment.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::SessionPath;
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
    path = "/v1/session/{session_id}",
    operation_id = "get-session",
    tag = tag::SESSIONS,
    summary = "Show a session",
    description = "Also for a while after its deployment has ended; one that was deleted is not there any more.",
    params(SessionPath),
    responses(
        (status = 200, description = "The session", body = session::SessionBody),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn get_session(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = path::session(&id)?;
    let view = state.engine().get_session(&caller.actor, id).await?;
    Ok(wire::ok(&session::SessionBody::of(&view, state.engine().now())))
}
