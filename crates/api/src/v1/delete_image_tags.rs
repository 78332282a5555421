//! `POST /v1/container-registry/images/{image_name}/tags/bulk-delete`: deletes several tags in the installation's own registry.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::ImagePath;
use crate::openapi::tag;
use crate::path::ImageSegments;
use crate::state::ApiState;
use crate::wire::{self, image_tags};

/// 207 with what became of each; 404; 424.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/container-registry/images/{image_name}/tags/bulk-delete",
    operation_id = "registry-image-tag-bulk-delete",
    tag = tag::REGISTRY,
    summary = "Delete several tags of an image",
    description = "Each by itself, as if it had been deleted alone.",
    params(ImagePath),
    request_body = image_tags::DeleteImageTagsBody,
    responses(
        (status = 207, description = "What became of each", body = image_tags::DeletedImageTagsBody),
        (status = 404, description = "There is no such image, or this installation has no registry of its own"),
        (status = 424, description = "The registry does not answer as it should, or the image has more than 5000 tags"),
    ),
)]
pub async fn delete_image_tags(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    ImageSegments { image, .. }: ImageSegments,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let tags = image_tags::read(&body.object)?;
    let outcomes = state.engine().delete_image_tags(&caller.actor, &image, &tags).await?;
    let body = image_tags::DeletedImageTagsBody::of(&tags, &outcomes);
    Ok(wire::json(StatusCode::MULTI_STATUS, wire::to_json(&body)))
}
