//! `DELETE /v1/app/{app_name}/version/{version_name}`: removes a version. Its deployments go on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;

/// 200 with `{"success": true}`; 404.
///
/// # Errors
/// See above.
pub async fn delete_version(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments((app, version)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let (app, version) = (path::app(&app)?, path::version(&version)?);
    state.engine().delete_version(&caller.actor, &app, &version).await?;
    Ok(wire::json(StatusCode::OK, r#"{"success":true}"#.to_owned()))
}
