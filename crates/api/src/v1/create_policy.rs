//! `POST /v1/fleet/{fleet_name}/policies`: makes a policy of a smart fleet.

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

/// 200 with the policy; 404; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/fleet/{fleet_name}/policies",
    operation_id = "fleet-policies-create",
    tag = tag::FLEETS,
    summary = "Make a policy",
    description = "Each version that is linked to the fleet has deployments of its own for it.",
    params(SmartFleetPath),
    request_body = fleet::NewPolicyBody,
    responses(
        (status = 200, description = "The policy", body = fleet::PolicyBody),
        (status = 404, description = "There is no such fleet"),
        (status = 409, description = "The name is taken"),
    ),
)]
pub async fn create_policy(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(fleet_name): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let fleet_name = path::fleet(&fleet_name)?;
    let (name, spec) = fleet::read_new_policy(&body.object)?;
    let made = state.engine().create_policy(&caller.actor, &fleet_name, name, spec).await?;
    Ok(wire::ok(&fleet::PolicyBody::of(&made)))
}
