//! `GET /v1/telemetry/active-deployments/{retrieval_key}`: the order of some running deployments.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::RetrievalPath;
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, telemetry::ResultBody};

/// 200 with the best first.
///
/// # Errors
/// 404 for a key that is unknown or expired.
#[utoipa::path(
    get,
    path = "/v1/telemetry/active-deployments/{retrieval_key}",
    operation_id = "active-deployment-telemetry-get",
    tag = tag::TELEMETRY,
    summary = "Which running deployment is the best for some players",
    description = "The best first. Deployments that are not there, have ended or have no host yet are missing.",
    params(RetrievalPath),
    responses(
        (status = 200, description = "The order", body = ResultBody),
        (status = 404, description = "There is no such key, or it has expired"),
    ),
)]
pub async fn get_telemetry(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(key): Segments<String>,
) -> Result<Response, ApiError> {
    let result = state.engine().telemetry_result(&caller.actor, &key).await?;
    Ok(wire::ok(&ResultBody::of(&result)))
}
