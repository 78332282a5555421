//! `GET /v1/apps`: lists applications.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, app::AppListBody};

/// 200 with a page.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/apps",
    operation_id = "applications-get",
    tag = tag::APPLICATIONS,
    summary = "List applications",
    description = "A token that is bound to applications sees those.",
    params(PageQuery),
    responses((status = 200, description = "A page", body = AppListBody)),
)]
pub async fn list_apps(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let apps = state.engine().list_apps(&caller.actor, parameters.page(APPS_PAGE)?).await?;
    Ok(wire::ok(&AppListBody::of(&apps)))
}
