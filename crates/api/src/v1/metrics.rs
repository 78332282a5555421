//! `GET /v1/metrics/deployment/{request_id}`: what a deployment used, as series over time.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, MetricsParams};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, metrics::MetricsBody, metrics::read_query};

/// 200 with every series, also of a deployment that has ended or never ran; 400 names what cannot be read; 404; 422 if
/// the end is not after the start, or if the answer would be too long.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/metrics/deployment/{request_id}",
    operation_id = "deployment-metrics-get",
    tag = tag::METRICS,
    summary = "Show what a deployment used",
    description = "Series over a time, also for a week after the deployment has ended. CPU is percent of what the deployment \
        may use, memory MiB, network rates bytes per second; totals are bytes since the start. A step's value is the mean \
        over the step, a total's where it stands at the step's end; a step of which nothing is known is left out. At most \
        5760 values of each kind are given.",
    params(DeploymentPath, MetricsParams),
    responses(
        (status = 200, description = "Every series", body = MetricsBody),
        (status = 404, description = "There is no such deployment"),
        (status = 422, description = "The end is not after the start, or the answer would be too long"),
    ),
)]
pub async fn metrics(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let query = read_query(&parameters)?;
    let report = state.engine().metrics(&caller.actor, id, query).await?;
    Ok(wire::ok(&MetricsBody::of(&report)))
}
