//! `GET /v1/locations/beacons`: what answers pings, by which players measure how far locations are.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, locations::BeaconsBody};

/// 200 with all of them.
///
/// # Errors
/// Only those that every call has.
#[utoipa::path(
    get,
    path = "/v1/locations/beacons",
    operation_id = "location-beacon-list",
    tag = tag::LOCATIONS,
    summary = "List the beacons",
    description = "A datagram that is sent to a beacon's UDP port, and what is sent over a connection to its TCP port, comes back \
        as it was. Datagrams of more than 512 bytes and more than 50 a second from one address are not answered.",
    responses((status = 200, description = "The beacons", body = BeaconsBody)),
)]
pub async fn beacons(State(state): State<ApiState>, caller: Caller<op::Read>) -> Result<Response, ApiError> {
    let beacons = state.engine().list_beacons(&caller.actor)?;
    Ok(wire::ok(&BeaconsBody::of(&beacons)))
}
