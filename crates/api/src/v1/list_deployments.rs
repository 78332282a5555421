//! `GET /v1/deployments`: lists deployments that have not ended, newest first unless asked otherwise.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::DEPLOYMENTS_PAGE;
use crate::list_query;
use crate::openapi::params::{ListQueryParams, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, list_item::ListBody};

/// 200 with a page.
///
/// # Errors
/// 400 names every mistake in `query`, `page` and `limit`.
#[utoipa::path(
    get,
    path = "/v1/deployments",
    operation_id = "deployments-get",
    tag = tag::DEPLOYMENTS,
    summary = "List deployments that have not ended",
    description = "Newest first unless asked otherwise. At most 10 a second with one token.",
    params(ListQueryParams, PageQuery),
    responses((status = 200, description = "A page", body = ListBody)),
)]
pub async fn list_deployments(
    State(state): State<ApiState>,
    caller: Caller<op::List>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(DEPLOYMENTS_PAGE)?;
    let query = list_query::read(parameters.get("query"))?;
    let deployments = state.engine().list_deployments(&caller.actor, query, page).await?;
    Ok(wire::ok(&ListBody::of(&deployments)))
}
