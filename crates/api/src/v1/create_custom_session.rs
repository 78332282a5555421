//! `POST /v1/deployment/{request_id}/custom/session/{custom_id}`: makes a session on a deployment, under a name of its user's.

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

/// 200 with the session; 404; 409 if the deployment does not take it or has one of this name.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/deployment/{request_id}/custom/session/{custom_id}",
    operation_id = "post-custom-session",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Make a custom session",
    description = "On this deployment, under this name.",
    params(DeploymentPath, CustomIdPath),
    request_body = session_body::CustomSessionBody,
    responses(
        (status = 200, description = "The session", body = session::MadeBody),
        (status = 404, description = "There is no such deployment"),
        (status = 409, description = "The deployment does not take it, or has one of this name"),
    ),
)]
pub async fn create_custom_session(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments((id, custom_id)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let (id, custom_id) = (path::deployment(&id)?, path::custom_id(&custom_id)?);
    let custom = session_body::read_custom(&body.object, custom_id)?;
    let made = state.engine().create_custom_session(&caller.actor, id, custom).await?;
    Ok(wire::ok(&session::MadeBody::of(&made)))
}
