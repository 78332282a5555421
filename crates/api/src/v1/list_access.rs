//! `GET /v1/app/{app_name}/version/{version_name}/whitelist`: the access list of a version.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, access::EntryListBody};

/// 200 with all entries; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/app/{app_name}/version/{version_name}/whitelist",
    operation_id = "app-version-whitelist-get",
    tag = tag::APPLICATIONS,
    summary = "List the access list of a version",
    description = "In the order in which its entries were added. It is in force on deployments of the version while `whitelisting_active` was on when they were made.",
    params(AppPath, VersionPath),
    responses(
        (status = 200, description = "All entries", body = EntryListBody),
        (status = 404, description = "There is no such application or version"),
    ),
)]
pub async fn list_access(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((app, version)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let entries = state.engine().list_access(&caller.actor, &app, &version).await?;
    Ok(wire::ok(&EntryListBody::of(&entries)))
}
