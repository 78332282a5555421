//! `GET /v1/deployments/{request_id}/tags`: lists the tags of a deployment.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::TAGS_PAGE;
use crate::openapi::params::{DeploymentPath, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, tags::TagListBody};

/// 200 with a page; 404.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/deployments/{request_id}/tags",
    operation_id = "deployments-tags-list",
    tag = tag::TAGS,
    summary = "List the tags of a deployment",
    description = "In the order in which they were put on; also after the deployment has ended, for as long as it is known.",
    params(DeploymentPath, PageQuery),
    responses(
        (status = 200, description = "A page", body = TagListBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn list_tags(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(TAGS_PAGE)?;
    let tags = state.engine().list_tags(&caller.actor, path::deployment(&id)?, page).await?;
    Ok(wire::ok(&TagListBody::of(&tags)))
}
