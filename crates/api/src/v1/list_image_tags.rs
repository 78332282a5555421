//! `GET /v1/container-registry/images/{image_name}/tags`: lists the tags of an image in the installation's own registry.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::IMAGE_TAGS_PAGE;
use crate::openapi::params::{ImagePath, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::ImageSegments;
use crate::state::ApiState;
use crate::wire::{self, image_tags::ImageTagsBody};

/// 200 with a page; 404; 424.
///
/// # Errors
/// 400 for a page that is none.
#[utoipa::path(
    get,
    path = "/v1/container-registry/images/{image_name}/tags",
    operation_id = "registry-image-tag-list",
    tag = tag::REGISTRY,
    summary = "List the tags of an image",
    description = "Of the registry of the configuration, in the order of their names.",
    params(ImagePath, PageQuery),
    responses(
        (status = 200, description = "A page", body = ImageTagsBody),
        (status = 404, description = "There is no such image, or this installation has no registry of its own"),
        (status = 424, description = "The registry does not answer as it should, or the image has more than 5000 tags"),
    ),
)]
pub async fn list_image_tags(
    State(state): State<ApiState>,
    caller: Caller<op::List>,
    ImageSegments { image, .. }: ImageSegments,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(IMAGE_TAGS_PAGE)?;
    let tags = state.engine().list_image_tags(&caller.actor, &image, page).await?;
    Ok(wire::ok(&ImageTagsBody::of(&tags)))
}
