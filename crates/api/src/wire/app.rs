//! Applications on the wire.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::apps::{AppPatch, NewApp};
use spawnpoint_model::app::Application;
use spawnpoint_model::limits::APP_IMAGE_BYTES_MAX;
use spawnpoint_model::query::Paged;
use spawnpoint_model::{AppName, Invalids};
use utoipa::ToSchema;

use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// An application.
#[derive(Serialize, ToSchema)]
#[schema(as = Application)]
pub struct AppBody<'a> {
    #[schema(example = "arena")]
    name: &'a str,
    /// Whether it can be deployed.
    #[schema(example = true)]
    is_active: bool,
    /// Always false: there is no agent.
    #[schema(example = false)]
    is_telemetry_agent_active: bool,
    /// Its picture, as it was given.
    #[schema(example = "")]
    image: &'a str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> AppBody<'a> {
    /// Of an application.
    #[must_use]
    pub fn of(app: &'a Application) -> Self {
        Self {
            name: app.name.as_str(),
            is_active: app.is_active,
            is_telemetry_agent_active: false,
            image: &app.image,
            create_time: V1Date(app.created_at),
            last_updated: V1Date(app.updated_at),
        }
    }
}

/// A page of applications.
#[derive(Serialize, ToSchema)]
#[schema(as = Applications)]
pub struct AppListBody<'a> {
    applications: Vec<AppBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> AppListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<Application>) -> Self {
        let applications = paged.items.iter().map(AppBody::of).collect();
        Self { applications, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A new application, as [`read_new`] reads it.
#[derive(ToSchema)]
#[schema(as = ApplicationPost)]
pub struct NewAppBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub name: String,
    /// Whether it can be deployed.
    #[schema(example = true)]
    pub is_active: bool,
    /// A picture in base64; may be empty.
    #[schema(max_length = 524_288, format = "prose", example = "")]
    pub image: String,
    /// Without effect.
    #[schema(example = false)]
    pub is_telemetry_agent_active: Option<bool>,
}

/// A change of an application, as [`read_patch`] reads it.
#[derive(ToSchema)]
#[schema(as = ApplicationPatch)]
pub struct AppPatchBody {
    /// Its new name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub name: Option<String>,
    /// Whether it can be deployed.
    #[schema(example = true)]
    pub is_active: Option<bool>,
    /// A picture in base64; may be empty.
    #[schema(max_length = 524_288, format = "prose", example = "")]
    pub image: Option<String>,
    /// Without effect.
    #[schema(example = false)]
    pub is_telemetry_agent_active: Option<bool>,
}

/// The picture: text, bounded. Clients send `""` where they have none.
fn image(body: &Fields<'_>) -> Option<String> {
    body.prose("image", APP_IMAGE_BYTES_MAX).map(str::to_owned)
}

/// Reads a new application.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<NewApp, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["name", "is_active", "image"] {
        body.require(key);
    }
    let name = body.parsed("name", AppName::parse);
    let (is_active, image) = (body.boolean("is_active"), image(&body));
    body.boolean("is_telemetry_agent_active");
    match (name, is_active, image) {
        (Some(name), Some(is_active), Some(image)) if problems.is_empty() => {
            Ok(NewApp { name, is_active, image })
        }
        _ => Err(problems.into_result().err().unwrap_or_default()),
    }
}

/// Reads a change of an application.
///
/// # Errors
/// Every bad field.
pub fn read_patch(object: &Map<String, Value>) -> Result<AppPatch, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.boolean("is_telemetry_agent_active");
    let patch = AppPatch {
        name: body.parsed("name", AppName::parse),
        is_active: body.boolean("is_active"),
        image: image(&body),
    };
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
    fn every_bad_field_of_a_new_application_is_named() {
        assert_eq!(fields(json!({"name": "arena", "is_active": true, "image": ""})), Vec::<String>::new());
        assert_eq!(fields(json!({})), ["name", "is_active", "image"]);
        assert_eq!(
            fields(json!({"name": 1, "is_active": "yes", "image": []})),
            ["name", "is_active", "image"]
        );
        assert_eq!(
            fields(json!({"name": "a\u{7}", "is_active": true, "image": "a\u{0}"})),
            ["name", "image"]
        );
        assert_eq!(
            fields(json!({"name": "x".repeat(65), "is_active": true, "image": "x".repeat(524_289)})),
            ["name", "image"]
        );
    }

    #[test]
    fn a_patch_leaves_out_what_is_null_or_absent() {
        let Value::Object(object) = json!({"name": null, "image": "new"}) else {
            panic!("an object is needed")
        };
        let patch = read_patch(&object).unwrap();
        assert_eq!((patch.name, patch.is_active, patch.image.as_deref()), (None, None, Some("new")));
    }
}
