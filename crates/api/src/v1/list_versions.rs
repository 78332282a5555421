//! `GET /v1/app/{app_name}/versions`: lists the versions of an application.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, version::VersionListBody};

/// 200 with a page; 404.
///
/// # Errors
/// See above; 400 for a page that is none.
pub async fn list_versions(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(app): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(APPS_PAGE)?;
    let versions = state.engine().list_versions(&caller.actor, &path::app(&app)?, page).await?;
    Ok(wire::ok(&VersionListBody::of(&versions)))
}
