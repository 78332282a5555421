//! `POST /v1/deployments/{request_id}:report`: somebody saw something wrong with a deployment. It is kept in its history.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, report::ReportBody};

/// 200 with an empty object; 404; 403 for a deployment of another's application.
///
/// # Errors
/// See above; 400 for a bad field, or if it has too many.
#[utoipa::path(
    post,
    path = "/v1/deployments/{request_id}:report",
    operation_id = "deployment-report",
    tag = tag::DEPLOYMENTS,
    summary = "Report a deployment",
    description = "Kept in its history, at most 64 of them; also after it has ended, for as long as it is known.",
    params(DeploymentPath),
    request_body = ReportBody,
    responses(
        (status = 200, description = "It is kept; an empty object", body = Object),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn report(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(target): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let id = path::deployment(path::verb(&target, "report")?)?;
    let report = wire::report::read(&body.object)?;
    state.engine().report(&caller.actor, id, report).await?;
    Ok(wire::ok(&json!({})))
}
