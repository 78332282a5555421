//! `POST /v1/session`: makes a session, on a deployment that has room for it.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::v1::deploy::in_v1_words;
use crate::wire::{self, session, session_body};

/// 200 with the session, whether a deployment takes it or not; 409 if the one that is named does not.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/session",
    operation_id = "session-post",
    tag = tag::SESSIONS,
    summary = "Make a session",
    description = "On the deployment that is named, else on the nearest one that is ready, joinable, carries the tags and has room, else on a new one if the version says `autodeploy`. If none takes it, it is unprocessable.",
    request_body = session_body::NewSessionBody,
    responses(
        (status = 200, description = "The session; without a deployment it is unprocessable", body = session::MadeBody),
        (status = 409, description = "The deployment that is named does not take it"),
    ),
)]
pub async fn create_session(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let request = session_body::read(&body.object)?;
    let made = state.engine().create_session(&caller.actor, request).await.map_err(in_v1_words)?;
    Ok(wire::ok(&session::MadeBody::of(&made)))
}
