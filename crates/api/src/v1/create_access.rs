//! `POST /v1/app/{app_name}/version/{version_name}/whitelist`: lets a network in.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{AppPath, VersionPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, access};

/// 200 with the entry; 404; 409 if the list is full.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/app/{app_name}/version/{version_name}/whitelist",
    operation_id = "app-version-whitelist-post",
    tag = tag::APPLICATIONS,
    summary = "Add an entry to the access list of a version",
    description = "Deployments of the version that were made with `whitelisting_active` let the network in, those that run too, about a second later. An empty list lets in nobody.",
    params(AppPath, VersionPath),
    request_body = access::NewEntryBody,
    responses(
        (status = 200, description = "The entry", body = access::EntryChangedBody),
        (status = 404, description = "There is no such application or version"),
        (status = 409, description = "The list is full"),
    ),
)]
pub async fn create_access(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let new = access::read_new(&body.object)?;
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let entry = state.engine().create_access(&caller.actor, &app, &version, new).await?;
    Ok(wire::ok(&access::EntryChangedBody::of(&entry)))
}
