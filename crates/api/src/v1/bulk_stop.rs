//! `POST /v1/deployments/bulk-stop`: stops every deployment that satisfies all of some filters.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{
    self,
    bulk_stop::{BulkStopBody, StoppedBody},
};

/// 202 with those that are stopped, none being fine too.
///
/// # Errors
/// 400 names every mistake, and then nothing is stopped.
#[utoipa::path(
    post,
    path = "/v1/deployments/bulk-stop",
    operation_id = "deployments-bulk-delete",
    tag = tag::DEPLOYMENTS,
    summary = "Stop deployments by filters",
    description = "All filters must match; without a filter or a value nobody is stopped. Each is stopped as by a single call.",
    request_body = BulkStopBody,
    responses(
        (status = 202, description = "These are stopped", body = StoppedBody),
    ),
)]
pub async fn bulk_stop(
    State(state): State<ApiState>,
    caller: Caller<op::Stop>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let filters = wire::bulk_stop::read(&body.object)?;
    let stopped = state.engine().bulk_stop(&caller.actor, &filters).await?;
    Ok(wire::json(StatusCode::ACCEPTED, wire::to_json(&StoppedBody::of(stopped))))
}
