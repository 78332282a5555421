//! `DELETE /v1/deployments/{request_id}/tags/{tag_name}`: takes a tag off a deployment.

use axum::extract::State;
use axum::http::StatusCode;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, TagPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;

/// 204; 404 for the tag or the deployment, also once that has ended.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/deployments/{request_id}/tags/{tag_name}",
    operation_id = "deployments-tags-delete",
    tag = tag::TAGS,
    summary = "Take a tag off a deployment",
    description = "Until it has ended. What runs in its container is not told.",
    params(DeploymentPath, TagPath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such deployment or no such tag, or the deployment has ended"),
    ),
)]
pub async fn delete_tag(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<StatusCode, ApiError> {
    state.engine().delete_tag(&caller.actor, path::deployment(&id)?, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
