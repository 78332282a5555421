//! `PATCH /v1/fleet/{fleet_name}/policies/{policy_name}`: changes a policy of a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{PolicyPath, SmartFleetPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with the policy; 404; 409 if the new name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/fleet/{fleet_name}/policies/{policy_name}",
    operation_id = "fleet-policies-update",
    tag = tag::FLEETS,
    summary = "Change a policy",
    description = "What runs goes on; nothing is started beyond the new bounds.",
    params(SmartFleetPath, PolicyPath),
    request_body = fleet::PolicyPatchBody,
    responses(
        (status = 200, description = "The policy", body = fleet::PolicyBody),
        (status = 404, description = "There is no such fleet or policy"),
        (status = 409, description = "The new name is taken"),
    ),
)]
pub async fn update_policy(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((fleet_name, name)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let (fleet_name, name) = (path::fleet(&fleet_name)?, path::policy(&name)?);
    let patch = fleet::read_policy_patch(&body.object)?;
    let changed = state.engine().update_policy(&caller.actor, &fleet_name, &name, patch).await?;
    Ok(wire::ok(&fleet::PolicyBody::of(&changed)))
}
