//! `PATCH /v1/app/{app_name}/version/{version_name}`: changes a version for the deployments to come.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionChangedBody, version_body};

/// 200 with the version; 404; 409 if the new name is taken; 424 as for a new version.
///
/// # Errors
/// See above; 400 names every bad field.
pub async fn update_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version)): Segments<(String, String)>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let input = version_body::read_patch(&body.object)?;
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let version = state.engine().update_version(&caller.actor, &app, &version, input).await?;
    Ok(wire::ok(&VersionChangedBody::of(&version)))
}
