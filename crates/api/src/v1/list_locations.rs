//! `GET /v1/locations`: where one can deploy.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::LOCATIONS_PAGE;
use crate::openapi::params::{LocationQuery, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, locations::LocationsBody};

/// 200 with a page.
///
/// # Errors
/// 400 for a bad parameter, an application or a version that is not there too.
#[utoipa::path(
    get,
    path = "/v1/locations",
    operation_id = "locations-get",
    tag = tag::LOCATIONS,
    summary = "List the locations",
    description = "Those with room for a deployment of a version, if an application is given; else all. Locations that belong \
        to private fleets alone are left out.",
    params(LocationQuery, PageQuery),
    responses((status = 200, description = "A page", body = LocationsBody)),
)]
pub async fn list_locations(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(LOCATIONS_PAGE)?;
    let query = wire::locations::read(&parameters)?;
    let found = state.engine().list_locations(&caller.actor, query.room_for.as_ref(), page).await?;
    if !query.is_known_type {
        return Ok(wire::ok(&LocationsBody::none(page)));
    }
    Ok(wire::ok(&LocationsBody::of(&found, query.with_tags)))
}
