//! `GET /v1/app/{app_name}/versions`: lists the versions of an application.

use axum::extract::State;
use axum::response::Response;
use spawnpoint_model::app::Version;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::openapi::params::{AppPath, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionListBody};

/// 200 with a page; 404.
///
/// # Errors
/// See above; 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/app/{app_name}/versions",
    operation_id = "app-versions-get",
    tag = tag::APPLICATIONS,
    summary = "List the versions of an application",
    description = "Secrets are masked.",
    params(AppPath, PageQuery),
    responses(
        (status = 200, description = "A page", body = VersionListBody),
        (status = 404, description = "There is no such application"),
    ),
)]
pub async fn list_versions(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(app): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(APPS_PAGE)?;
    let versions = state.engine().list_versions(&caller.actor, &path::app(&app)?, page).await?;
    let cached = |version: &Version| state.engine().cached_share(&version.spec);
    Ok(wire::ok(&VersionListBody::of(&versions, cached)))
}
