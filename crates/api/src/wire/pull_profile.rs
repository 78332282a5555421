//! Pull profiles and their links on the wire.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::pull_profiles::{NewProfile, ProfilePatch};
use spawnpoint_model::limits::OBJECT_KEY_CHARS_MAX;
use spawnpoint_model::query::Paged;
use spawnpoint_model::storage::{PullLink, PullProfile, SourceType, check_destination, check_source};
use spawnpoint_model::{Invalid, Invalids, ProfileName};
use utoipa::ToSchema;

use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// A pull profile.
#[derive(Serialize, ToSchema)]
#[schema(as = PullProfile)]
pub struct ProfileBody<'a> {
    #[schema(example = "configs")]
    name: &'a str,
    /// Where in the bucket.
    #[schema(example = "/my-bucket/config.cfg")]
    source: &'a str,
    /// `File` or `Folder`.
    source_type: TypeName,
    /// The folder in the container.
    #[schema(example = "/usr/share/configs")]
    destination: &'a str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> ProfileBody<'a> {
    /// Of a profile.
    #[must_use]
    pub fn of(profile: &'a PullProfile) -> Self {
        Self {
            name: profile.name.as_str(),
            source: &profile.source,
            source_type: TypeName::of(profile.source_type),
            destination: &profile.destination,
            create_time: V1Date(profile.created_at),
            last_updated: V1Date(profile.updated_at),
        }
    }
}

/// A page of pull profiles.
#[derive(Serialize, ToSchema)]
#[schema(as = PullProfiles)]
pub struct ProfileListBody<'a> {
    pull_profiles: Vec<ProfileBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> ProfileListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<PullProfile>) -> Self {
        let pull_profiles = paged.items.iter().map(ProfileBody::of).collect();
        Self { pull_profiles, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A link of a pull profile to a version.
#[derive(Serialize, ToSchema)]
#[schema(as = PullProfileLink)]
pub struct LinkBody<'a> {
    #[schema(example = "arena")]
    app: &'a str,
    #[schema(example = "v7")]
    app_version: &'a str,
    /// The endpoint storage's name.
    #[schema(example = "my-storage")]
    endpoint: &'a str,
    #[schema(example = "configs")]
    pull_profile: &'a str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> LinkBody<'a> {
    /// Of a link.
    #[must_use]
    pub fn of(link: &'a PullLink) -> Self {
        Self {
            app: link.app.as_str(),
            app_version: link.version.as_str(),
            endpoint: link.storage.as_str(),
            pull_profile: link.profile.as_str(),
            create_time: V1Date(link.created_at),
            last_updated: V1Date(link.updated_at),
        }
    }
}

/// A new pull profile, as [`read_new`] reads it.
#[derive(ToSchema)]
#[schema(as = PullProfilePost)]
pub struct NewProfileBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "configs")]
    pub name: String,
    /// Where in the bucket: a key, or the beginning of keys. It may begin with the bucket's name.
    #[schema(min_length = 1, max_length = 1024, format = "object-key", example = "/my-bucket/config.cfg")]
    pub source: String,
    /// `File`: one object. `Folder`: all objects below `source`.
    #[schema(pattern = "^([fF][iI][lL][eE]|[fF][oO][lL][dD][eE][rR])$", example = "File")]
    pub source_type: String,
    /// The folder in the container into which the files are put. `/etc`, `/proc`, `/sys` and `/dev` are protected:
    /// deployments with such a profile fail.
    #[schema(min_length = 1, max_length = 1024, format = "container-path", example = "/usr/share/configs")]
    pub destination: String,
}

/// A change of a pull profile, as [`read_patch`] reads it.
#[derive(ToSchema)]
#[schema(as = PullProfilePatch)]
pub struct ProfilePatchBody {
    /// Its new name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "configs")]
    pub name: Option<String>,
    /// Where in the bucket: a key, or the beginning of keys. It may begin with the bucket's name.
    #[schema(min_length = 1, max_length = 1024, format = "object-key", example = "/my-bucket/config.cfg")]
    pub source: Option<String>,
    /// `File`: one object. `Folder`: all objects below `source`.
    #[schema(pattern = "^([fF][iI][lL][eE]|[fF][oO][lL][dD][eE][rR])$", example = "File")]
    pub source_type: Option<String>,
    /// The folder in the container into which the files are put. `/etc`, `/proc`, `/sys` and `/dev` are protected:
    /// deployments with such a profile fail.
    #[schema(min_length = 1, max_length = 1024, format = "container-path", example = "/usr/share/configs")]
    pub destination: Option<String>,
}

/// What is copied, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SourceType, example = "File")]
pub enum TypeName {
    /// One object.
    File,
    /// All objects below the source.
    Folder,
}

impl TypeName {
    const fn of(source_type: SourceType) -> Self {
        match source_type {
            SourceType::File => Self::File,
            SourceType::Folder => Self::Folder,
        }
    }
}

fn source_type(text: &str) -> Result<SourceType, Invalid> {
    match text {
        _ if text.eq_ignore_ascii_case("file") => Ok(SourceType::File),
        _ if text.eq_ignore_ascii_case("folder") => Ok(SourceType::Folder),
        _ => Err(Invalid::new("", "must be File or Folder")),
    }
}

/// Every field that is there.
fn read(body: &Fields<'_>) -> ProfilePatch {
    let source_type = body.parsed("source_type", source_type);
    // Of a change that does not say the type, the engine knows it.
    let assumed = source_type.unwrap_or(SourceType::Folder);
    let source = body.line("source", 1..=OBJECT_KEY_CHARS_MAX);
    ProfilePatch {
        name: body.parsed("name", ProfileName::parse),
        source: source
            .and_then(|text| body.check("source", check_source(text, assumed).map(|()| text.to_owned()))),
        source_type,
        destination: body.parsed("destination", |text| check_destination(text).map(|()| text.to_owned())),
    }
}

/// Reads a new pull profile.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<NewProfile, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["name", "source", "source_type", "destination"] {
        body.require(key);
    }
    let ProfilePatch { name, source, source_type, destination } = read(&body);
    match (name, source, source_type, destination) {
        (Some(name), Some(source), Some(source_type), Some(destination)) if problems.is_empty() => {
            Ok(NewProfile { name, source, source_type, destination })
        }
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

/// Reads a change of a pull profile.
///
/// # Errors
/// Every bad field.
pub fn read_patch(object: &Map<String, Value>) -> Result<ProfilePatch, Invalids> {
    let problems = Problems::new();
    let patch = read(&Fields::new(object, &problems));
    problems.into_result()?;
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(body: Value) -> Vec<String> {
        let Value::Object(object) = body else { panic!("an object is needed") };
        read_new(&object).err().map(|e| e.0.into_iter().map(|i| i.field).collect()).unwrap_or_default()
    }

    #[test]
    fn every_bad_field_of_a_new_profile_is_named() {
        let good = || json!({"name": "maps", "source": "/my-bucket/config.cfg", "source_type": "file", "destination": "/data"});
        assert_eq!(fields(good()), Vec::<String>::new());
        assert_eq!(fields(json!({})), ["name", "source", "source_type", "destination"]);
        for (field, values) in [
            ("name", vec![json!(""), json!("a/b"), json!(5)]),
            ("source", vec![json!(""), json!("/"), json!("a/../b"), json!("x".repeat(1025)), json!([])]),
            ("source_type", vec![json!("Directory"), json!(1)]),
            (
                "destination",
                vec![json!(""), json!("data"), json!("/a/../etc"), json!("/a\u{0}"), json!(false)],
            ),
        ] {
            for value in values {
                let mut body = good();
                body[field] = value.clone();
                assert_eq!(fields(body), [field], "{value}");
            }
        }
    }
}
