//! `GET /spawnpoint/v1/fleets/{fleet_name}/links`: lists the versions that are linked to a smart fleet.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
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
    path = "/spawnpoint/v1/fleets/{fleet_name}/links",
    operation_id = "list-fleet-links",
    tag = tag::EXTENSIONS,
    summary = "List the versions of a fleet",
    description = "Those that are linked to it, by application and version.",
    params(SmartFleetPath, PageQuery),
    responses(
        (status = 200, description = "A page", body = fleet::LinkListBody),
        (status = 404, description = "There is no such fleet"),
    ),
)]
pub async fn fleet_links(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(fleet_name): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let fleet_name = path::fleet(&fleet_name)?;
    let page = parameters.page(APPS_PAGE)?;
    let links = state.engine().list_links(&caller.actor, &fleet_name, page).await?;
    Ok(wire::ok(&fleet::LinkListBody::of(&links)))
}
