//! `POST /v1/fleet`: makes a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the fleet; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/fleet",
    operation_id = "fleet-create",
    tag = tag::FLEETS,
    summary = "Make a fleet",
    description = "It does nothing until it is enabled, has a policy and a version.",
    request_body = fleet::NewFleetBody,
    responses(
        (status = 200, description = "The fleet", body = fleet::FleetBody),
        (status = 409, description = "The name is taken"),
    ),
)]
pub async fn create_fleet(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = fleet::read_new(&body.object)?;
    let made = state.engine().create_fleet(&caller.actor, new).await?;
    Ok(wire::ok(&fleet::FleetBody::of(&made)))
}
