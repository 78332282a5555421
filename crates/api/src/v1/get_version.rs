//! `GET /v1/app/{app_name}/version/{version_name}`: shows a version.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionBody};

/// 200 with the version, not wrapped; 404.
///
/// # Errors
/// See above.
pub async fn get_version(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((app, version)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    let version = state.engine().get_version(&caller.actor, &app, &version).await?;
    Ok(wire::ok(&VersionBody::of(&version)))
}
