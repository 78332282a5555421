//! `GET /v1/fleets`: lists smart fleets.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::FLEETS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, fleet};

/// 200 with a page; 400 for a page that is none.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/fleets",
    operation_id = "fleets",
    tag = tag::FLEETS,
    summary = "List fleets",
    description = "By name.",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = fleet::FleetListBody),
    ),
)]
pub async fn list_fleets(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(FLEETS_PAGE)?;
    let fleets = state.engine().list_fleets(&caller.actor, page).await?;
    Ok(wire::ok(&fleet::FleetListBody::of(&fleets)))
}
