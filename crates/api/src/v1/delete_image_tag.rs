//! `DELETE /v1/container-registry/images/{image_name}/tags/{tag_name}`: deletes a tag in the installation's own registry.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{ImagePath, ImageTagPath};
use crate::openapi::tag;
use crate::path::ImageSegments;
use crate::state::ApiState;
use crate::wire::{self, image_tags::DeletedImageTagBody};

/// 200 with what was deleted; 404; 424.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/container-registry/images/{image_name}/tags/{tag_name}",
    operation_id = "registry-image-tag-delete",
    tag = tag::REGISTRY,
    summary = "Delete a tag of an image",
    description = "Of the registry of the configuration. The image goes with its last tag; its other tags stay. Versions that name the tag are not changed.",
    params(ImagePath, ImageTagPath),
    responses(
        (status = 200, description = "It is gone", body = DeletedImageTagBody),
        (status = 404, description = "There is no such image or tag, or this installation has no registry of its own"),
        (status = 424, description = "The registry does not answer as it should, or does not delete"),
    ),
)]
pub async fn delete_image_tag(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    ImageSegments { image, tag }: ImageSegments,
) -> Result<Response, ApiError> {
    let deleted = state.engine().delete_image_tag(&caller.actor, &image, &tag).await?;
    Ok(wire::ok(&DeletedImageTagBody::of(&deleted)))
}
