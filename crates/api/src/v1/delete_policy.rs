//! `DELETE /v1/fleet/{fleet_name}/policies/{policy_name}`: deletes a policy of a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{PolicyPath, SmartFleetPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/fleet/{fleet_name}/policies/{policy_name}",
    operation_id = "fleet-policies-delete",
    tag = tag::FLEETS,
    summary = "Delete a policy",
    description = "Its deployments go on.",
    params(SmartFleetPath, PolicyPath),
    responses(
        (status = 200, description = "It is deleted", body = fleet::MessageBody),
        (status = 404, description = "There is no such fleet or policy"),
    ),
)]
pub async fn delete_policy(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((fleet_name, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (fleet_name, name) = (path::fleet(&fleet_name)?, path::policy(&name)?);
    state.engine().delete_policy(&caller.actor, &fleet_name, &name).await?;
    Ok(wire::ok(&fleet::MessageBody::deleted(name.as_str())))
}
