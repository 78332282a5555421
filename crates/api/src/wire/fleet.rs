//! Smart fleets on the wire: fleets, policies, links.
//!
//! `data` of a policy says where its deployments go. For the types `Location` and `Tag` it holds `filters`, as deploy requests
//! know them (`location_tags` are what `Tag` is for; `{"tags": [...]}` is short for one such filter). For `Coordinates` it holds
//! `latitude` and `longitude`, or several of them under `coordinates`. It is shown as it was given.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::fleets::{FleetPatch, NewFleet, PolicyPatch};
use spawnpoint_model::filter::{FilterType, LocationField, LocationFilter};
use spawnpoint_model::fleet::{Fleet, Link, Policy, PolicyKind, PolicySpec};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::limits::{
    FILTER_VALUES_MAX, FILTERS_MAX, POLICY_DEPLOYMENTS_MAX, POLICY_POINTS_MAX, TEXT_CHARS_MAX,
};
use spawnpoint_model::names::{FleetName, PolicyName, check_text};
use spawnpoint_model::query::Paged;
use spawnpoint_model::{Invalid, Invalids};
use utoipa::ToSchema;

use super::deploy_v1::{FilterBody, filter};
use super::deploy_v2::{PointBody, point};
use crate::dates::V1Date;
use crate::fields::{Fields, Problems};
use crate::pagination::Pagination;

/// Characters of a tag of a location.
const VALUE_CHARS_MAX: usize = 255;
/// Where a policy that says nothing has its threshold: the newest deployment is full.
const THRESHOLD_DEFAULT: f64 = 1.0;

/// A fleet.
#[derive(Serialize, ToSchema)]
#[schema(as = Fleet)]
pub struct FleetBody<'a> {
    #[schema(example = "everywhere")]
    name: &'a str,
    /// Whether anything happens.
    #[schema(example = true)]
    enabled: bool,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> FleetBody<'a> {
    /// Of a fleet.
    #[must_use]
    pub fn of(fleet: &'a Fleet) -> Self {
        Self {
            name: fleet.name.as_str(),
            enabled: fleet.enabled,
            create_time: V1Date(fleet.created_at),
            last_updated: V1Date(fleet.updated_at),
        }
    }
}

/// A page of fleets.
#[derive(Serialize, ToSchema)]
#[schema(as = Fleets)]
pub struct FleetListBody<'a> {
    fleets: Vec<FleetBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> FleetListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<Fleet>) -> Self {
        let fleets = paged.items.iter().map(FleetBody::of).collect();
        Self { fleets, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A new fleet, as [`read_new`] reads it.
#[derive(ToSchema)]
#[schema(as = FleetPost)]
pub struct NewFleetBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "everywhere")]
    pub name: String,
    /// Whether anything happens.
    #[schema(default = false, example = true)]
    pub enabled: Option<bool>,
}

/// A change of a fleet, as [`read_patch`] reads it.
#[derive(ToSchema)]
#[schema(as = FleetPatch)]
pub struct FleetPatchBody {
    /// Its new name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "everywhere")]
    pub name: Option<String>,
    /// Whether anything happens.
    #[schema(example = true)]
    pub enabled: Option<bool>,
}

/// Reads a new fleet.
///
/// # Errors
/// Every bad field.
pub fn read_new(object: &Map<String, Value>) -> Result<NewFleet, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("name");
    let name = body.parsed("name", FleetName::parse);
    let enabled = body.boolean("enabled").unwrap_or(false);
    problems.into_result()?;
    let name = name.ok_or_else(|| Invalids::from(Invalid::new("name", "is missing")))?;
    Ok(NewFleet { name, enabled })
}

/// Reads a change of a fleet.
///
/// # Errors
/// Every bad field.
pub fn read_patch(object: &Map<String, Value>) -> Result<FleetPatch, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    let patch = FleetPatch { name: body.parsed("name", FleetName::parse), enabled: body.boolean("enabled") };
    problems.into_result()?;
    Ok(patch)
}

/// A policy.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetPolicy)]
pub struct PolicyBody<'a> {
    #[schema(example = "europe")]
    name: &'a str,
    #[schema(example = true)]
    enabled: bool,
    #[schema(value_type = PolicyType)]
    r#type: &'static str,
    #[schema(example = 1)]
    minimum: u32,
    /// `null`: no bound.
    #[schema(required, example = 5)]
    maximum: Option<u32>,
    #[schema(example = 0.8)]
    threshold: f64,
    /// As it was given.
    #[schema(value_type = Object, example = json!({"filters": [{"field": "continent", "values": ["Europe"], "filter_type": "any"}]}))]
    data: Value,
    create_time: V1Date,
    last_updated: V1Date,
}

/// By what a policy says where its deployments go.
#[derive(ToSchema)]
#[schema(as = FleetPolicyType, example = "Location")]
pub enum PolicyType {
    /// By filters on locations.
    Location,
    /// By filters on the tags of locations.
    Tag,
    /// Near to points.
    Coordinates,
}

impl<'a> PolicyBody<'a> {
    /// Of a policy.
    #[must_use]
    pub fn of(policy: &'a Policy) -> Self {
        let spec = &policy.spec;
        Self {
            name: policy.name.as_str(),
            enabled: spec.enabled,
            r#type: spec.kind.as_str(),
            minimum: spec.minimum,
            maximum: spec.maximum,
            threshold: spec.threshold,
            // It was written by us.
            data: serde_json::from_str(&spec.data).unwrap_or_default(),
            create_time: V1Date(policy.created_at),
            last_updated: V1Date(policy.updated_at),
        }
    }
}

/// A page of policies.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetPolicies)]
pub struct PolicyListBody<'a> {
    policies: Vec<PolicyBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> PolicyListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<Policy>) -> Self {
        let policies = paged.items.iter().map(PolicyBody::of).collect();
        Self { policies, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// A new policy, as [`read_new_policy`] reads it.
#[derive(ToSchema)]
#[schema(as = FleetPolicyPost)]
pub struct NewPolicyBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "europe")]
    pub name: String,
    /// Whether anything happens.
    #[schema(default = true, example = true)]
    pub enabled: Option<bool>,
    /// By what it says where.
    pub r#type: PolicyType,
    /// Deployments that are always there, of each linked version.
    #[schema(minimum = 1, maximum = 10000, example = 1)]
    pub minimum: u32,
    /// Never more than this; without it there is no bound.
    #[schema(minimum = 1, maximum = 10000, example = 5)]
    pub maximum: Option<u32>,
    /// Share of the sockets of the newest deployment from which on another is started.
    #[schema(minimum = 0.1, maximum = 1, default = 1.0, example = 0.8)]
    pub threshold: Option<f64>,
    /// Where.
    pub data: PolicyDataBody,
}

/// Where the deployments of a policy go: one of these, as its type asks.
#[derive(ToSchema)]
#[schema(as = FleetPolicyData)]
pub struct PolicyDataBody {
    /// Locations; all filters must hold.
    #[schema(max_items = 32)]
    pub filters: Option<Vec<FilterBody>>,
    /// Tags of which a location must have one.
    #[schema(max_items = 256, example = json!(null))]
    pub tags: Option<Vec<super::deploy_v1::FilterValue>>,
    /// Degrees north of a point.
    #[schema(minimum = -90, maximum = 90, example = json!(null))]
    pub latitude: Option<f64>,
    /// Degrees east of it.
    #[schema(minimum = -180, maximum = 180, example = json!(null))]
    pub longitude: Option<f64>,
    /// Several points.
    #[schema(max_items = 64, example = json!(null))]
    pub coordinates: Option<Vec<PointBody>>,
}

/// A change of a policy, as [`read_policy_patch`] reads it.
#[derive(ToSchema)]
#[schema(as = FleetPolicyPatch)]
pub struct PolicyPatchBody {
    /// Its new name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "europe")]
    pub name: Option<String>,
    /// Whether anything happens.
    #[schema(example = true)]
    pub enabled: Option<bool>,
    /// By what it says where.
    pub r#type: Option<PolicyType>,
    /// Deployments that are always there, of each linked version.
    #[schema(minimum = 0, maximum = 10000, example = 1)]
    pub minimum: Option<u32>,
    /// Never more than this; `null` takes the bound away.
    #[schema(minimum = 1, maximum = 10000, example = 5)]
    pub maximum: Option<u32>,
    /// Share of the sockets of the newest deployment from which on another is started.
    #[schema(minimum = 0.1, maximum = 1, example = 0.8)]
    pub threshold: Option<f64>,
    /// Where.
    pub data: Option<PolicyDataBody>,
    /// Without effect: what was read can be sent back.
    #[schema(example = "2026-04-11 08:30:12.004211")]
    pub create_time: Option<String>,
    /// Without effect.
    #[schema(example = "2026-04-11 08:30:12.004211")]
    pub last_updated: Option<String>,
}

/// Reads a new policy.
///
/// # Errors
/// Every bad field.
pub fn read_new_policy(object: &Map<String, Value>) -> Result<(PolicyName, PolicySpec), Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["name", "type", "minimum", "data"] {
        body.require(key);
    }
    let name = body.parsed("name", PolicyName::parse);
    let kind = kind(&body);
    let minimum: Option<u32> = body.integer("minimum", 1..=i64::from(POLICY_DEPLOYMENTS_MAX));
    let maximum: Option<u32> = body.integer("maximum", 1..=i64::from(POLICY_DEPLOYMENTS_MAX));
    let (enabled, threshold, data) = (body.boolean("enabled"), threshold(&body), data(&body, object));
    problems.into_result()?;
    let (Some(name), Some(kind), Some(minimum), Some((filters, points, data))) = (name, kind, minimum, data)
    else {
        return Err(Invalid::new("name", "is missing").into());
    };
    let enabled = enabled.unwrap_or(true);
    let threshold = threshold.unwrap_or(THRESHOLD_DEFAULT);
    Ok((name, PolicySpec { enabled, kind, minimum, maximum, threshold, filters, points, data }))
}

/// Reads a change of a policy.
///
/// # Errors
/// Every bad field.
pub fn read_policy_patch(object: &Map<String, Value>) -> Result<PolicyPatch, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    let maximum = body.integer("maximum", 1..=i64::from(POLICY_DEPLOYMENTS_MAX));
    for key in ["create_time", "last_updated"] {
        body.text(key);
    }
    let patch = PolicyPatch {
        name: body.parsed("name", PolicyName::parse),
        enabled: body.boolean("enabled"),
        kind: kind(&body),
        minimum: body.integer("minimum", 0..=i64::from(POLICY_DEPLOYMENTS_MAX)),
        maximum: if body.is_null("maximum") { Some(None) } else { maximum.map(Some) },
        threshold: threshold(&body),
        data: data(&body, object),
    };
    problems.into_result()?;
    Ok(patch)
}

fn kind(body: &Fields<'_>) -> Option<PolicyKind> {
    body.parsed("type", |text| {
        let word = text.trim();
        let known = PolicyKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word));
        known.ok_or_else(|| Invalid::new("", "must be one of Location, Tag, Coordinates"))
    })
}

fn threshold(body: &Fields<'_>) -> Option<f64> {
    let threshold = body.number("threshold")?;
    if !(0.1..=1.0).contains(&threshold) {
        body.note("threshold", "must be a number from 0.1 to 1");
        return None;
    }
    Some(threshold)
}

/// What `data` means, and what it is.
type Data = (Vec<LocationFilter>, Vec<GeoPoint>, String);

fn data(body: &Fields<'_>, object: &Map<String, Value>) -> Option<Data> {
    let data = body.object("data")?;
    let items = data.objects("filters", FILTERS_MAX).unwrap_or_default();
    let mut filters: Vec<LocationFilter> = items.iter().filter_map(filter).collect();
    let tags = data.texts("tags", FILTER_VALUES_MAX, |text| {
        check_text(text, 1..=VALUE_CHARS_MAX)?;
        Ok(text.to_owned())
    });
    if let Some(values) = tags.filter(|tags| !tags.is_empty()) {
        let field = LocationField::LocationTags;
        filters.push(LocationFilter { field, values, filter_type: FilterType::Any });
    }
    let mut points = Vec::new();
    if data.value("latitude").is_some() || data.value("longitude").is_some() {
        points.extend(point(&data));
    }
    let items = data.objects("coordinates", POLICY_POINTS_MAX).unwrap_or_default();
    points.extend(items.iter().filter_map(point));
    let text = object.get("data")?.to_string();
    if text.len() > 4 * TEXT_CHARS_MAX {
        body.note("data", format!("must have at most {} bytes as JSON", 4 * TEXT_CHARS_MAX));
    }
    Some((filters, points, text))
}

/// A version that is linked to a fleet.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetLink)]
pub struct LinkBody<'a> {
    #[schema(example = "arena")]
    app: &'a str,
    #[schema(example = "v7")]
    app_version: &'a str,
    #[schema(example = "everywhere")]
    fleet: &'a str,
    create_time: V1Date,
    last_updated: V1Date,
}

impl<'a> LinkBody<'a> {
    /// Of a link.
    #[must_use]
    pub fn of(link: &'a Link) -> Self {
        Self {
            app: link.app.as_str(),
            app_version: link.version.as_str(),
            fleet: link.fleet.as_str(),
            create_time: V1Date(link.created_at),
            last_updated: V1Date(link.created_at),
        }
    }
}

/// A page of links.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetLinks)]
pub struct LinkListBody<'a> {
    links: Vec<LinkBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> LinkListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<Link>) -> Self {
        let links = paged.items.iter().map(LinkBody::of).collect();
        Self { links, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[schema(as = FleetMessage)]
pub struct MessageBody {
    #[schema(example = "everywhere is deleted; its deployments go on")]
    message: String,
}

impl MessageBody {
    /// That something is deleted.
    #[must_use]
    pub fn deleted(name: &str) -> Self {
        Self { message: format!("{name} is deleted; its deployments go on") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(change: impl FnOnce(&mut Value)) -> Result<(PolicyName, PolicySpec), Invalids> {
        let filters = json!([{"field": "city", "values": ["Lyon"], "filter_type": "any"}]);
        let mut body = json!({"name": "eu", "type": "Location", "minimum": 1, "data": {"filters": filters}});
        change(&mut body);
        let Value::Object(object) = body else { unreachable!("an object") };
        read_new_policy(&object)
    }

    #[test]
    fn what_is_left_out_of_a_policy_has_defaults() {
        let (name, spec) = policy(|_| {}).unwrap();
        assert_eq!((name.as_str(), spec.enabled, spec.maximum, spec.threshold), ("eu", true, None, 1.0));
        assert_eq!(spec.filters.len(), 1);
        assert!(spec.data.contains("Lyon"));
    }

    #[test]
    fn every_type_has_its_data() {
        let (_, tags) = policy(|body| {
            body["type"] = json!("tag");
            body["data"] = json!({"tags": ["gpu"]});
        })
        .unwrap();
        assert_eq!((tags.kind, tags.filters[0].field), (PolicyKind::Tag, LocationField::LocationTags));
        let (_, points) = policy(|body| {
            body["type"] = json!("Coordinates");
            body["data"] =
                json!({"latitude": 1, "longitude": 2, "coordinates": [{"latitude": 3, "longitude": 4}]});
        })
        .unwrap();
        assert_eq!(points.points.len(), 2);
    }

    #[test]
    fn every_bad_field_of_a_policy_is_named() {
        for (key, bad, field) in [
            ("name", json!(""), "name"),
            ("type", json!("Region"), "type"),
            ("minimum", json!(0), "minimum"),
            ("maximum", json!(0), "maximum"),
            ("threshold", json!(0.05), "threshold"),
            ("threshold", json!(2), "threshold"),
            ("enabled", json!("yes"), "enabled"),
            ("data", json!([]), "data"),
            ("data", json!({"filters": [{"field": "city"}]}), "data.filters[0].values"),
            ("data", json!({"latitude": 91, "longitude": 0}), "data.latitude"),
            ("data", Value::Null, "data"),
        ] {
            let problems = policy(|body| body[key] = bad.clone()).expect_err("it is refused");
            assert_eq!(problems.0[0].field, field, "{key} {bad}");
        }
    }
}
