//! `POST /v1/deployment/{request_id}/custom/sessions`: makes several sessions on a deployment.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session, session_body};

/// 200 with what became of each; 404.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/deployment/{request_id}/custom/sessions",
    operation_id = "post-custom-sessions",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Make several custom sessions",
    description = "Each by itself: what could not be made is under `errors`.",
    params(DeploymentPath),
    request_body = session_body::CustomSessionsBody,
    responses(
        (status = 200, description = "What became of each", body = session::MadeListBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn create_custom_sessions(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let all = session_body::read_customs(&body.object)?;
    let outcomes = state.engine().create_custom_sessions(&caller.actor, id, all).await?;
    Ok(wire::ok(&session::MadeListBody::of(&outcomes)))
}
