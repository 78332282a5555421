//! `PATCH /v1/fleet/{fleet_name}`: changes a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::SmartFleetPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the fleet; 404; 409 if the new name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/fleet/{fleet_name}",
    operation_id = "fleet-update",
    tag = tag::FLEETS,
    summary = "Change a fleet",
    description = "Switched off it starts nothing; what runs goes on.",
    params(SmartFleetPath),
    request_body = fleet::FleetPatchBody,
    responses(
        (status = 200, description = "The fleet", body = fleet::FleetBody),
        (status = 404, description = "There is no such fleet"),
        (status = 409, description = "The new name is taken"),
    ),
)]
pub async fn update_fleet(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let name = path::fleet(&name)?;
    let patch = fleet::read_patch(&body.object)?;
    let changed = state.engine().update_fleet(&caller.actor, &name, patch).await?;
    Ok(wire::ok(&fleet::FleetBody::of(&changed)))
}
