//! `DELETE /v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}`: lets a network in no more.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{AppPath, EntryPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, access::EntryChangedBody};

/// 200 with the entry as it was; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/app/{app_name}/version/{version_name}/whitelist/{entry_id}",
    operation_id = "app-version-whitelist-entry-delete",
    tag = tag::APPLICATIONS,
    summary = "Remove an entry of an access list",
    description = "Deployments that run let the network in no more about a second later, and connections from it end.",
    params(AppPath, VersionPath, EntryPath),
    responses(
        (status = 200, description = "The entry as it was", body = EntryChangedBody),
        (status = 404, description = "There is no such application, version or entry"),
    ),
)]
pub async fn delete_access(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version, entry)): Segments<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (app, version, entry) = (path::app(&app)?, path::version(&version)?, path::entry(&entry)?);
    let entry = state.engine().delete_access(&caller.actor, &app, &version, entry).await?;
    Ok(wire::ok(&EntryChangedBody::of(&entry)))
}
