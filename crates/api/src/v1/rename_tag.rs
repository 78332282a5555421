//! `PATCH /v1/deployments/{request_id}/tags/{tag_name}`: gives a tag another name.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{DeploymentPath, TagPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;
use crate::wire::tags::{NewTagBody, TagBody, read_name};

/// 200 with the tag; 409 if another has the new name; 404 for the tag or the deployment, also once that has ended.
///
/// # Errors
/// See above; 400 for a bad name.
#[utoipa::path(
    patch,
    path = "/v1/deployments/{request_id}/tags/{tag_name}",
    operation_id = "deployments-tags-update",
    tag = tag::TAGS,
    summary = "Rename a tag of a deployment",
    description = "Until it has ended. What runs in its container is not told.",
    params(DeploymentPath, TagPath),
    request_body = NewTagBody,
    responses(
        (status = 200, description = "The tag", body = TagBody),
        (status = 404, description = "There is no such deployment or no such tag, or the deployment has ended"),
        (status = 409, description = "Another tag has the new name"),
    ),
)]
pub async fn rename_tag(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments((id, name)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let to = read_name(&body.object)?;
    let tag = state.engine().rename_tag(&caller.actor, path::deployment(&id)?, &name, to).await?;
    Ok(wire::ok(&TagBody::of(&tag)))
}
