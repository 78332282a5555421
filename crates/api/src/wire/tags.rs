//! Tags: one, the list of them, and the body that names one.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_model::deployment::Tag;
use spawnpoint_model::query::Paged;
use spawnpoint_model::{Invalid, Invalids, TagName};
use utoipa::ToSchema;

use super::parts::TagText;
use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// A tag.
#[derive(Serialize, ToSchema)]
#[schema(as = Tag)]
pub struct TagBody<'a> {
    #[schema(example = "ranked")]
    name: &'a str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> TagBody<'a> {
    /// Of a tag.
    #[must_use]
    pub fn of(tag: &'a Tag) -> Self {
        Self {
            name: tag.name.as_str(),
            create_time: V1Date(tag.created_at),
            last_updated: V1Date(tag.updated_at),
        }
    }
}

/// The tags of a deployment. The number of all of them was called `count` once and is called `total_count` now.
#[derive(Serialize, ToSchema)]
#[schema(as = Tags)]
pub struct TagListBody<'a> {
    tags: Vec<TagBody<'a>>,
    /// Tags on all pages.
    #[schema(example = 1)]
    count: u64,
    /// The same.
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> TagListBody<'a> {
    /// Of a page of tags.
    #[must_use]
    pub fn of(paged: &'a Paged<Tag>) -> Self {
        let tags = paged.items.iter().map(TagBody::of).collect();
        Self { tags, count: paged.total, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A new tag, or a tag's new name.
#[derive(ToSchema)]
#[schema(as = NewTag)]
pub struct NewTagBody {
    /// The name.
    pub name: TagText,
}

/// Reads the body that names a tag: `{"name"}`.
///
/// # Errors
/// What is wrong with the name.
pub fn read_name(object: &Map<String, Value>) -> Result<TagName, Invalids> {
    let problems = Problems::new();
    let fields = Fields::new(object, &problems);
    fields.require("name");
    let name = fields.parsed("name", TagName::parse);
    problems.into_result()?;
    name.ok_or_else(|| Invalid::new("name", "is missing").into())
}
