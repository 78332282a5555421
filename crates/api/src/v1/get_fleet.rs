//! `GET /v1/fleet/{fleet_name}`: shows a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::SmartFleetPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the fleet; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/fleet/{fleet_name}",
    operation_id = "fleet-get",
    tag = tag::FLEETS,
    summary = "Show a fleet",
    description = "Its policies are listed by themselves.",
    params(SmartFleetPath),
    responses(
        (status = 200, description = "The fleet", body = fleet::FleetBody),
        (status = 404, description = "There is no such fleet"),
    ),
)]
pub async fn get_fleet(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let name = path::fleet(&name)?;
    let found = state.engine().get_fleet(&caller.actor, &name).await?;
    Ok(wire::ok(&fleet::FleetBody::of(&found)))
}
