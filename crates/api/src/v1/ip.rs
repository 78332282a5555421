//! `GET /v1/ip`: the caller's own address. Unity deploys near it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;

use crate::auth::{Caller, op};
use crate::client::ClientAddress;
use crate::error::ApiError;
use crate::state::ApiState;
use crate::wire::{self, parts::Shown};

#[derive(Serialize)]
struct Body {
    public_ip: Shown<std::net::IpAddr>,
}

/// 200 with the address, as a trusted proxy says or as the connection shows.
///
/// # Errors
/// 500 if the server was started without connection information.
pub async fn ip(
    State(_): State<ApiState>,
    _caller: Caller<op::Read>,
    address: ClientAddress,
) -> Result<Response, ApiError> {
    let address =
        address.0.ok_or_else(|| ApiError::internal("the listener gives no connection information"))?;
    Ok(wire::ok(&Body { public_ip: Shown(address) }))
}
