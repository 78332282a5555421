//! `POST /v1/ips/lookup`: where several addresses are.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{
    self,
    lookup::{LocatedListBody, LookupBody},
};

/// 200, in the order of the request.
///
/// # Errors
/// 400 names every entry that is no address; so it is for more than 20.
#[utoipa::path(
    post,
    path = "/v1/ips/lookup",
    operation_id = "IPs lookup",
    tag = tag::IP,
    summary = "Where several addresses are",
    description = "At most 20, answered in the order of the request.",
    request_body = LookupBody,
    responses((status = 200, description = "What is known of each", body = LocatedListBody)),
)]
pub async fn look_up_addresses(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let addresses = wire::lookup::read(&body.object)?;
    let look_up = |address| state.engine().look_up(&caller.actor, address);
    let located = addresses.into_iter().map(look_up).collect::<Result<Vec<_>, _>>()?;
    Ok(wire::ok(&LocatedListBody::of(&located)))
}
