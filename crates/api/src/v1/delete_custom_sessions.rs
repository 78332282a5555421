//! `DELETE /v1/deployment/{request_id}/custom/sessions`: deletes several sessions of a deployment.

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
    delete,
    path = "/v1/deployment/{request_id}/custom/sessions",
    operation_id = "delete-custom-sessions",
    tag = tag::CUSTOM_SESSIONS,
    summary = "Delete several custom sessions",
    description = "Each by itself: what could not be deleted is under `errors`.",
    params(DeploymentPath),
    request_body = session_body::CustomDeletesBody,
    responses(
        (status = 200, description = "What became of each", body = session::DeletedListBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn delete_custom_sessions(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let names = session_body::read_custom_deletes(&body.object)?;
    let outcomes = state.engine().delete_custom_sessions(&caller.actor, id, &names).await?;
    Ok(wire::ok(&session::DeletedListBody::of(&outcomes)))
}
