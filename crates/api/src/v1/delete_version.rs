//! `DELETE /v1/app/{app_name}/version/{version_name}`: removes a version. Its deployments go on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::openapi::params::{AppPath, VersionPath};
use crate::openapi::tag;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;

/// The answer.
#[derive(ToSchema)]
#[schema(as = AppVersionDelete)]
pub struct VersionDeletedBody {
    /// Always true.
    #[schema(example = true)]
    pub success: bool,
}

/// 200 with `{"success": true}`; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/app/{app_name}/version/{version_name}",
    operation_id = "app-version-delete",
    tag = tag::APPLICATIONS,
    summary = "Delete a version",
    description = "Its deployments go on.",
    params(AppPath, VersionPath),
    responses(
        (status = 200, description = "It is gone", body = VersionDeletedBody),
        (status = 404, description = "There is no such application or version"),
    ),
)]
pub async fn delete_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    state.engine().delete_version(&caller.actor, &app, &version).await?;
    Ok(wire::json(StatusCode::OK, r#"{"success":true}"#.to_owned()))
}
