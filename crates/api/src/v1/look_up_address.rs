//! `GET /v1/ip/{ip}/lookup`: where an address is.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::AddressPath;
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, lookup::LocatedBody};

/// 200, for unknown addresses too.
///
/// # Errors
/// 400 for what is no address.
#[utoipa::path(
    get,
    path = "/v1/ip/{ip}/lookup",
    operation_id = "IP lookup",
    tag = tag::IP,
    summary = "Where an address is",
    description = "As the configured database says. Of private and unknown addresses, and without a database, `location` is `null`.",
    params(AddressPath),
    responses((status = 200, description = "What is known", body = LocatedBody)),
)]
pub async fn look_up_address(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(address): Segments<String>,
) -> Result<Response, ApiError> {
    let address = wire::lookup::read_one(&address)?;
    let located = state.engine().look_up(&caller.actor, address)?;
    Ok(wire::ok(&LocatedBody::of(&located)))
}
