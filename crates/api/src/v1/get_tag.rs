//! `GET /v1/deployments/{request_id}/tags/{tag_name}`: one tag of a deployment.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, TagPath};
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, tags::TagBody};

/// 200 with the tag; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/deployments/{request_id}/tags/{tag_name}",
    operation_id = "deployments-tags-read",
    tag = tag::TAGS,
    summary = "Get a tag of a deployment",
    description = "Also after the deployment has ended, for as long as it is known.",
    params(DeploymentPath, TagPath),
    responses(
        (status = 200, description = "The tag", body = TagBody),
        (status = 404, description = "There is no such deployment or no such tag"),
    ),
)]
pub async fn get_tag(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let tag = state.engine().get_tag(&caller.actor, path::deployment(&id)?, &name).await?;
    Ok(wire::ok(&TagBody::of(&tag)))
}
