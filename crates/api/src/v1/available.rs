//! `POST /v1/deployments:available`: deployments that sessions may join, the nearest first.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::limits::DEPLOYMENTS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{
    self,
    available::{AvailableListBody, AvailableQueryBody},
};

/// 200 with a page.
///
/// # Errors
/// 400 names every mistake, an application or a version that is not there too.
#[utoipa::path(
    post,
    path = "/v1/deployments:available",
    operation_id = "deployments-available",
    tag = tag::DEPLOYMENTS,
    summary = "Find deployments that sessions may join",
    description = "Ready ones with free sockets, the nearest first, else the oldest first.",
    params(PageQuery),
    request_body = AvailableQueryBody,
    responses(
        (status = 200, description = "A page", body = AvailableListBody),
    ),
)]
pub async fn available(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let page = parameters.page(DEPLOYMENTS_PAGE)?;
    let query = wire::available::read(&body.object)?;
    let found = state.engine().available(&caller.actor, &query, page).await?;
    Ok(wire::ok(&AvailableListBody::of(&found)))
}
