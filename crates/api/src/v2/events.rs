//! `GET /v2/deployments/{request_id}/events`: the flight recorder. How it ended, the most it used, why it was placed where,
//! and everything that happened, for seven days after its end.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, events::FlightRecordBody};

/// 200; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v2/deployments/{request_id}/events",
    operation_id = "deployment-events",
    tag = tag::EXTENSIONS,
    summary = "The flight recorder of a deployment",
    description = "How it ended, the most it used, why it was placed where, and the newest 1000 things that happened. Readable for as long as its record is kept, 7 days after its end by default.",
    params(DeploymentPath),
    responses(
        (status = 200, description = "The record", body = FlightRecordBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn events(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let record = state.engine().flight_record(&caller.actor, id).await?;
    Ok(wire::ok(&FlightRecordBody::of(record)))
}
