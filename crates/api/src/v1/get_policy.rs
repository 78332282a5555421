//! `GET /v1/fleet/{fleet_name}/policies/{policy_name}`: shows a policy of a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{PolicyPath, SmartFleetPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the policy; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/fleet/{fleet_name}/policies/{policy_name}",
    operation_id = "fleet-policies-get",
    tag = tag::FLEETS,
    summary = "Show a policy",
    description = "With its data as it was given.",
    params(SmartFleetPath, PolicyPath),
    responses(
        (status = 200, description = "The policy", body = fleet::PolicyBody),
        (status = 404, description = "There is no such fleet or policy"),
    ),
)]
pub async fn get_policy(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((fleet_name, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (fleet_name, name) = (path::fleet(&fleet_name)?, path::policy(&name)?);
    let found = state.engine().get_policy(&caller.actor, &fleet_name, &name).await?;
    Ok(wire::ok(&fleet::PolicyBody::of(&found)))
}
