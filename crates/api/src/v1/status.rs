//! `GET /v1/status/{request_id}`: where a deployment stands. The call that everybody polls.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use spawnpoint_engine::Error;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{
    self,
    status::{StatusBody, render_status},
};

/// 200 with the status; 400 for an id that is not known, as the live platform answers.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/status/{request_id}",
    operation_id = "deployment-status-get",
    tag = tag::DEPLOYMENTS,
    summary = "Show a deployment",
    description = "At most 20 a second with one token. An id that is not known is a 400.",
    params(DeploymentPath),
    responses((status = 200, description = "Where it stands", body = StatusBody)),
)]
pub async fn status(
    State(state): State<ApiState>,
    caller: Caller<op::Status>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::bad_request("Bad Request ID provided");
    let id = id.parse().map_err(|_| unknown())?;
    let view = state.engine().get_deployment(&caller.actor, id).await.map_err(|error| match error {
        Error::NotFound(_) => unknown(),
        other => other.into(),
    })?;
    Ok(wire::json(StatusCode::OK, render_status(&view, state.engine().now())))
}
