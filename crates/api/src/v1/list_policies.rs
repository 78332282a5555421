//! `GET /v1/fleet/{fleet_name}/policies`: lists the policies of a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::FLEETS_PAGE;
use crate::openapi::params::{PageQuery, SmartFleetPath};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with a page; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/fleet/{fleet_name}/policies",
    operation_id = "fleet-policies-list",
    tag = tag::FLEETS,
    summary = "List the policies of a fleet",
    description = "By name.",
    params(SmartFleetPath, PageQuery),
    responses(
        (status = 200, description = "A page", body = fleet::PolicyListBody),
        (status = 404, description = "There is no such fleet"),
    ),
)]
pub async fn list_policies(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(fleet_name): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let fleet_name = path::fleet(&fleet_name)?;
    let page = parameters.page(FLEETS_PAGE)?;
    let policies = state.engine().list_policies(&caller.actor, &fleet_name, page).await?;
    Ok(wire::ok(&fleet::PolicyListBody::of(&policies)))
}
