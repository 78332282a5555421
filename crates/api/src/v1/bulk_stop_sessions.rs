//! `POST /v1/sessions/bulk-stop`: deletes every session that satisfies all of some filters.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, session, session_body};

/// 200 with those that are deleted, none being fine too.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/sessions/bulk-stop",
    operation_id = "sessions-bulk-stop",
    tag = tag::SESSIONS,
    summary = "Delete sessions by filters",
    description = "All filters must match; without a filter or a value none is deleted. Deployments go on.",
    request_body = session_body::SessionsStopBody,
    responses(
        (status = 200, description = "These are deleted", body = session::StoppedBody),
    ),
)]
pub async fn bulk_stop_sessions(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let filters = session_body::read_filters(&body.object)?;
    let deleted = state.engine().bulk_delete_sessions(&caller.actor, &filters).await?;
    Ok(wire::ok(&session::StoppedBody::of(&deleted)))
}
