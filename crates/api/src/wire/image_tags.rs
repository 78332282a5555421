//! Tags of images in the installation's own registry: the list, one that was deleted, several that were.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::Error;
use spawnpoint_engine::image_tags::ImageTag;
use spawnpoint_model::Invalids;
use spawnpoint_model::limits::{IMAGE_TAG_CHARS_MAX, IMAGE_TAGS_AT_ONCE_MAX};
use spawnpoint_model::names::check_text;
use spawnpoint_model::query::Paged;
use utoipa::ToSchema;

use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// An image.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageArtifact)]
struct ArtifactBody<'a> {
    /// Whether the image was deleted with the tag.
    #[schema(example = false)]
    artifact_deleted: bool,
    /// All tags of the image; after a deletion, those that are left.
    #[schema(example = json!(["v7", "latest"]))]
    remaining_tags: &'a [String],
    /// The digest.
    #[schema(example = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b")]
    image_hash: &'a str,
    /// Millions of bytes that are pulled.
    #[schema(example = 51.2)]
    size_mb: f64,
}

impl<'a> ArtifactBody<'a> {
    fn of(tag: &'a ImageTag, artifact_deleted: bool) -> Self {
        let hundredths = u32::try_from(tag.bytes.div_ceil(10_000)).unwrap_or(u32::MAX);
        Self {
            artifact_deleted,
            remaining_tags: &tag.tags,
            image_hash: &tag.digest,
            size_mb: f64::from(hundredths) / 100.0,
        }
    }
}

/// A tag.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageTag)]
struct ImageTagBody<'a> {
    #[schema(example = "v7")]
    tag: &'a str,
    /// When the image was built: registries do not tell when it was pushed. 1970 if it does not say.
    last_push_at: V1Date,
    artifact: ArtifactBody<'a>,
}

/// The tags of an image, in the order of their names.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageTags)]
pub struct ImageTagsBody<'a> {
    data: Vec<ImageTagBody<'a>>,
    /// Tags on all pages.
    #[schema(example = 1)]
    count: u64,
    /// The same.
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> ImageTagsBody<'a> {
    /// Of a page of tags.
    #[must_use]
    pub fn of(paged: &'a Paged<ImageTag>) -> Self {
        let one = |tag: &'a ImageTag| ImageTagBody {
            tag: &tag.tag,
            last_push_at: V1Date(tag.built_at),
            artifact: ArtifactBody::of(tag, false),
        };
        let data = paged.items.iter().map(one).collect();
        Self { data, count: paged.total, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A tag that was deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedImageTag)]
pub struct DeletedImageTagBody<'a> {
    artifact: ArtifactBody<'a>,
    #[schema(example = "v7")]
    deleted_tag: &'a str,
}

impl<'a> DeletedImageTagBody<'a> {
    /// Of a tag that was deleted.
    #[must_use]
    pub fn of(tag: &'a ImageTag) -> Self {
        Self { artifact: ArtifactBody::of(tag, tag.tags.is_empty()), deleted_tag: &tag.tag }
    }
}

/// Tags to delete.
#[derive(ToSchema)]
#[schema(as = ImageTagsToDelete)]
pub struct DeleteImageTagsBody {
    /// Each is deleted by itself, in this order.
    #[schema(min_items = 1, max_items = 100)]
    pub tags: Vec<ImageTagText>,
}

/// An image's tag. What can be none is not found.
#[derive(ToSchema)]
#[schema(as = ImageTagName, value_type = String, min_length = 1, max_length = 128, format = "line", example = "v7")]
pub struct ImageTagText(pub String);

/// Reads the tags.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<Vec<String>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("tags");
    if body.is_empty_list("tags") {
        body.note("tags", "must not be empty");
    }
    let tags = body.texts("tags", IMAGE_TAGS_AT_ONCE_MAX, |text| {
        check_text(text, 1..=IMAGE_TAG_CHARS_MAX)?;
        Ok(text.to_owned())
    });
    problems.into_result()?;
    Ok(tags.unwrap_or_default())
}

/// What became of several tags.
#[derive(Serialize, ToSchema)]
#[schema(as = DeletedImageTags)]
pub struct DeletedImageTagsBody<'a> {
    results: Vec<ResultBody<'a>>,
    summary: Summary,
}

/// What became of one.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageTagDeletion)]
struct ResultBody<'a> {
    #[schema(example = "v7")]
    tag: &'a str,
    /// 204: it is gone; 404: there is none; 500: anything else, which the message tells.
    #[schema(minimum = 204, maximum = 500, example = 204)]
    status: u16,
    #[schema(example = "deleted")]
    message: String,
}

/// How many.
#[derive(Serialize, ToSchema)]
#[schema(as = ImageTagDeletionSummary)]
struct Summary {
    #[schema(example = 1)]
    total: usize,
    #[schema(example = 1)]
    success: usize,
    #[schema(example = 0)]
    failed: usize,
}

impl<'a> DeletedImageTagsBody<'a> {
    /// Of tags, each with what became of it.
    #[must_use]
    pub fn of(tags: &'a [String], outcomes: &[Result<ImageTag, Error>]) -> Self {
        let results = tags.iter().zip(outcomes).map(|(tag, outcome)| {
            let (status, message) = match outcome {
                Ok(deleted) if deleted.tags.is_empty() => (204, "deleted, and its image with it".to_owned()),
                Ok(_) => (204, "deleted".to_owned()),
                Err(error @ Error::NotFound(_)) => (404, error.to_string()),
                Err(error) => (500, error.to_string()),
            };
            ResultBody { tag, status, message }
        });
        let results: Vec<_> = results.collect();
        let success = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Self { summary: Summary { total: results.len(), success, failed: results.len() - success }, results }
    }
}
