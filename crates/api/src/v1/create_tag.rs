//! `POST /v1/deployments/{request_id}/tags`: puts a tag on a deployment. What runs in its container is not told.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;
use crate::wire::tags::{NewTagBody, TagBody, read_name};

/// 200 with the tag; 409 if it is there; 404, also once the deployment has ended.
///
/// # Errors
/// See above; 400 for a bad name, or if it has too many.
#[utoipa::path(
    post,
    path = "/v1/deployments/{request_id}/tags",
    operation_id = "deployments-tags-create",
    tag = tag::TAGS,
    summary = "Put a tag on a deployment",
    description = "Until it has ended; at most 64. What runs in its container is not told.",
    params(DeploymentPath),
    request_body = NewTagBody,
    responses(
        (status = 200, description = "The tag", body = TagBody),
        (status = 404, description = "There is no such deployment, or it has ended"),
        (status = 409, description = "It is there already"),
    ),
)]
pub async fn create_tag(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let name = read_name(&body.object)?;
    let tag = state.engine().create_tag(&caller.actor, path::deployment(&id)?, name).await?;
    Ok(wire::ok(&TagBody::of(&tag)))
}
