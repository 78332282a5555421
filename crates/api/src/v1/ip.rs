//! `GET /v1/ip`: the caller's own address. Unity deploys near it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::client::ClientAddress;
use crate::error::ApiError;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, parts::Shown};

#[derive(Serialize, ToSchema)]
#[schema(as = IPAddressResponse)]
struct Body {
    #[schema(value_type = String, example = "198.51.100.7")]
    public_ip: Shown<std::net::IpAddr>,
}

/// 200 with the address, as a trusted proxy says or as the connection shows.
///
/// # Errors
/// 500 if the server was started without connection information.
#[utoipa::path(
    get,
    path = "/v1/ip",
    operation_id = "IP",
    tag = tag::IP,
    summary = "The address of the caller",
    description = "As a trusted proxy says, or as the connection shows.",
    responses((status = 200, description = "The address", body = Body)),
)]
pub async fn ip(
    State(_): State<ApiState>,
    _caller: Caller<op::Read>,
    address: ClientAddress,
) -> Result<Response, ApiError> {
    let address =
        address.0.ok_or_else(|| ApiError::internal("the listener gives no connection information"))?;
    Ok(wire::ok(&Body { public_ip: Shown(address) }))
}
