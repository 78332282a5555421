//! `GET /v2/deployments/{request_id}/events`: the flight recorder. How it ended, the most it used, why it was placed where,
//! and everything that happened, for seven days after its end.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, events::FlightRecordBody};

/// 200; 404.
///
/// # Errors
/// See above.
pub async fn events(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let record = state.engine().flight_record(&caller.actor, id).await?;
    Ok(wire::ok(&FlightRecordBody::of(record)))
}
