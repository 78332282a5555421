//! `DELETE /v1/fleet/{fleet_name}`: deletes a smart fleet with its policies and links.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::SmartFleetPath;
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
    path = "/v1/fleet/{fleet_name}",
    operation_id = "fleet-delete",
    tag = tag::FLEETS,
    summary = "Delete a fleet",
    description = "With its policies and links; its deployments go on.",
    params(SmartFleetPath),
    responses(
        (status = 200, description = "It is deleted", body = fleet::MessageBody),
        (status = 404, description = "There is no such fleet"),
    ),
)]
pub async fn delete_fleet(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let name = path::fleet(&name)?;
    state.engine().delete_fleet(&caller.actor, &name).await?;
    Ok(wire::ok(&fleet::MessageBody::deleted(name.as_str())))
}
