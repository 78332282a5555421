//! The body and the answer of `POST /v2/deployments`.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::{DeployRequest, Player, WebhookUrls};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::limits::{TAGS_MAX, URL_CHARS_MAX, USERS_MAX};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{AppName, DeploymentId, Invalid, Invalids, Plaintext, TagName, VersionName};
use utoipa::ToSchema;

use super::parts::{AddressText, Shown, TagText, VariableBody, read_env};
use crate::fields::{Fields, Problems};

/// The answer: nothing but the id.
#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentCreated)]
pub struct DeployedBody {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
}

impl DeployedBody {
    /// Of a deployment.
    #[must_use]
    pub const fn of(id: DeploymentId) -> Self {
        Self { request_id: Shown(id) }
    }
}

/// The answer where no host could take it.
#[derive(ToSchema)]
#[schema(as = DeploymentRefused)]
pub struct RefusedBody {
    /// The deployment, in error.
    #[schema(format = "deployment-id")]
    pub request_id: String,
    /// Why.
    #[schema(example = "no host has room for it")]
    pub message: String,
}

/// A deploy request, as [`read`] reads it.
#[derive(ToSchema)]
#[schema(as = DeploymentCreate)]
pub struct DeployV2Body {
    /// The application; it must be active.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub application: String,
    /// Its version; it must be active.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub version: String,
    /// The players; the deployment is placed near them.
    #[schema(min_items = 1, max_items = 512)]
    pub users: Vec<UserBody>,
    /// Whether only hosts are taken that have the image already.
    #[schema(default = false, example = false)]
    pub require_cached_locations: Option<bool>,
    /// Variables beside those of the version; 128 KiB in all.
    #[schema(max_items = 256)]
    pub environment_variables: Option<Vec<VariableBody>>,
    /// Tags; a repeated one counts once.
    #[schema(max_items = 64)]
    pub tags: Option<Vec<TagText>>,
    /// Called when it is ready.
    pub webhook_on_ready: Option<WebhookBody>,
    /// Called when it failed.
    pub webhook_on_error: Option<WebhookBody>,
    /// Called when it has ended.
    pub webhook_on_terminated: Option<WebhookBody>,
    /// In place of the version's.
    pub resources: Option<ResourcesBody>,
}

/// Where a player is.
#[derive(ToSchema)]
#[schema(as = User)]
#[serde(tag = "user_type", content = "user_data", rename_all = "snake_case")]
pub enum UserBody {
    /// By address.
    #[schema(example = json!({"user_type": "ip_address", "user_data": {"ip_address": "198.51.100.7"}}))]
    IpAddress(UserAddressBody),
    /// By position.
    GeoCoordinates(PointBody),
}

/// A player's address.
#[derive(ToSchema)]
#[schema(as = UserAddress)]
pub struct UserAddressBody {
    /// IPv4 or IPv6.
    pub ip_address: AddressText,
}

/// A position in degrees.
#[derive(Serialize, ToSchema)]
#[schema(as = Coordinates)]
pub struct PointBody {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 45.75)]
    pub latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = 4.85)]
    pub longitude: f64,
}

/// An address that is called.
#[derive(ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// http or https. Private addresses are called only where the configuration allows it.
    #[schema(min_length = 1, max_length = 2048, format = "web-address")]
    pub url: String,
}

/// What a deployment may use.
#[derive(ToSchema)]
#[schema(as = DeploymentResources)]
pub struct ResourcesBody {
    /// Units; 1024 are one vCPU.
    #[schema(minimum = 100, maximum = 262_144, example = 1024)]
    pub cpu_units: u32,
    /// MiB; at most twice the units of CPU.
    #[schema(minimum = 100, maximum = 524_288, example = 512)]
    pub memory_mib: u32,
}

/// Reads a deploy request.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<DeployRequest, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["application", "version", "users"] {
        body.require(key);
    }
    let app = body.parsed("application", AppName::parse);
    let version = body.parsed("version", VersionName::parse);
    let players = users(&body);
    let require_cached = body.boolean("require_cached_locations").unwrap_or(false);
    let env = read_env(&body, "environment_variables", false).unwrap_or_default();
    let tags = read_tags(&body);
    let webhooks = WebhookUrls {
        on_ready: webhook(&body, "webhook_on_ready"),
        on_error: webhook(&body, "webhook_on_error"),
        on_terminated: webhook(&body, "webhook_on_terminated"),
    };
    let resources = resources(&body);
    problems.into_result()?;
    let Some(app) = app else { return Err(Invalid::new("application", "is missing").into()) };
    Ok(DeployRequest {
        app,
        version,
        players,
        centroid: None,
        filters: Vec::new(),
        preferred_hosts: Vec::new(),
        require_cached,
        env,
        tags,
        webhooks,
        command: None,
        arguments: None,
        log_storage: None,
        resources,
    })
}

fn users(body: &Fields<'_>) -> Vec<Player> {
    let Some(users) = body.objects("users", USERS_MAX) else { return Vec::new() };
    if body.is_empty_list("users") {
        body.note("users", "must not be empty");
    }
    users.iter().filter_map(user).collect()
}

fn user(user: &Fields<'_>) -> Option<Player> {
    user.require("user_type");
    user.require("user_data");
    let (user_type, data) = (user.text("user_type"), user.object("user_data"));
    let (user_type, data) = (user_type?, data?);
    match user_type {
        // Unity sends coordinates under this type where it could not find out its own address.
        "ip_address" if data.value("ip_address").is_none() && data.value("latitude").is_some() => {
            position(&data)
        }
        "ip_address" => {
            data.require("ip_address");
            data.parsed("ip_address", address).map(Player::Address)
        }
        "geo_coordinates" => position(&data),
        _ => {
            user.note("user_type", "must be one of ip_address, geo_coordinates");
            None
        }
    }
}

fn position(data: &Fields<'_>) -> Option<Player> {
    point(data).map(Player::At)
}

/// `latitude` and `longitude`, both needed.
pub(super) fn point(data: &Fields<'_>) -> Option<GeoPoint> {
    data.require("latitude");
    data.require("longitude");
    let (latitude, longitude) = (data.number("latitude"), data.number("longitude"));
    let (latitude, longitude) = (latitude?, longitude?);
    match GeoPoint::checked(latitude, longitude) {
        Ok(point) => Some(point),
        Err(invalid) => {
            data.note(&invalid.field, invalid.problem);
            None
        }
    }
}

/// An IP address; a mapped IPv4 address is taken for what it is.
pub(super) fn address(text: &str) -> Result<IpAddr, Invalid> {
    let parsed: Result<IpAddr, _> = text.trim().parse();
    parsed.map(|a| a.to_canonical()).map_err(|_| Invalid::new("", "must be an IPv4 or IPv6 address"))
}

/// Tags; a repeated one counts once.
pub(super) fn read_tags(body: &Fields<'_>) -> Vec<TagName> {
    let mut tags: Vec<TagName> = Vec::new();
    for tag in body.texts("tags", TAGS_MAX, TagName::parse).unwrap_or_default() {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn webhook(body: &Fields<'_>, key: &str) -> Option<Plaintext> {
    let webhook = body.object(key)?;
    webhook.require("url");
    webhook.parsed("url", url)
}

/// An address that can be called. Where it may lead is decided when it is called.
pub(super) fn url(text: &str) -> Result<Plaintext, Invalid> {
    let wrong = || Invalid::new("", "must be an http or https address with a host");
    spawnpoint_model::names::check_text(text, 1..=URL_CHARS_MAX)?;
    let url = url::Url::parse(text.trim()).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(Plaintext::new(text.trim()))
}

fn resources(body: &Fields<'_>) -> Option<Resources> {
    let resources = body.object("resources")?;
    resources.require("cpu_units");
    resources.require("memory_mib");
    let range = 0..=i64::from(u32::MAX);
    let (cpu, memory) =
        (resources.integer("cpu_units", range.clone()), resources.integer("memory_mib", range));
    match Resources::checked(cpu?, memory?, "cpu_units", "memory_mib") {
        Ok(resources) => Some(resources),
        Err(invalid) => {
            resources.note(&invalid.field, invalid.problem);
            None
        }
    }
}

#[cfg(test)]
mod tests;
