//! `GET /v2/private-fleets/{fleet-name}/hosts`: lists the hosts of a private fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::HOSTS_PAGE;
use crate::openapi::params::{FleetPath, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, fleet_hosts::FleetHostsBody};

/// 200 with a page.
///
/// # Errors
/// 400 for a fleet that does not exist, and for a page that is none.
#[utoipa::path(
    get,
    path = "/v2/private-fleets/{fleet-name}/hosts",
    operation_id = "private-fleet-hosts-list",
    tag = tag::PRIVATE_FLEETS,
    summary = "List the hosts of a private fleet",
    description = "At most 10 a second with one token. Hosts that were given up are not listed.",
    params(FleetPath, PageQuery),
    responses((status = 200, description = "A page", body = FleetHostsBody)),
)]
pub async fn fleet_hosts(
    State(state): State<ApiState>,
    caller: Caller<op::Hosts>,
    Segments(fleet): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(HOSTS_PAGE).map_err(ApiError::with_details)?;
    let listed = state.engine().list_fleet_hosts(&caller.actor, &fleet, page).await;
    let (fleet, hosts) = listed.map_err(|error| ApiError::from(error).with_details())?;
    Ok(wire::ok(&FleetHostsBody::of(&fleet, &hosts)))
}
