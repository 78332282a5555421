//! `GET /v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}`: one entry of an access list.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, EntryPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, access::EntryBody};

/// 200 with the entry; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}",
    operation_id = "app-version-whitelist-entry-get",
    tag = tag::APPLICATIONS,
    summary = "Show an entry of an access list",
    params(AppPath, VersionPath, EntryPath),
    responses(
        (status = 200, description = "The entry", body = EntryBody),
        (status = 404, description = "There is no such application, version or entry"),
    ),
)]
pub async fn get_access(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((app, version, entry)): Segments<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (app, version, entry) = (path::app(&app)?, path::version(&version)?, path::entry(&entry)?);
    let entry = state.engine().get_access(&caller.actor, &app, &version, entry).await?;
    Ok(wire::ok(&EntryBody::of(&entry)))
}
