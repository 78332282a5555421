//! The body and the answer of `POST /v1/deploy`, the older deploy call.
//!
//! Where the players are: `location` wins over `geo_ip_list`, which wins over `ip_list`; one of them is needed. The single
//! place fields of 2024 (`city`, `country`, ...) are an `any` filter each. `webhook_url` is called when the deployment is
//! ready and when it fails.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::{DeployRequest, DeploymentView, Player, WebhookUrls};
use spawnpoint_model::deployment::LogStorage;
use spawnpoint_model::filter::{FilterType, LocationField, LocationFilter};
use spawnpoint_model::limits::{FILTER_VALUES_MAX, FILTERS_MAX, TEXT_CHARS_MAX, USERS_MAX};
use spawnpoint_model::names::check_text;
use spawnpoint_model::{AppName, DeploymentId, Invalid, Invalids, VersionName};
use utoipa::ToSchema;

use super::deploy_v2::{PointBody, address, point, read_tags, url};
use super::parts::{AddressText, Fqdn, Shown, TagNames, TagText, VariableBody, read_env};
use crate::fields::{Fields, Problems};
use crate::limits::STORAGE_NAME_CHARS_MAX;

/// Characters of a value of a filter.
const VALUE_CHARS_MAX: usize = 255;

/// A deploy request, as [`read`] reads it. Where the players are: `location` wins over `geo_ip_list`, which wins over
/// `ip_list`; one of them is needed.
#[derive(ToSchema)]
#[schema(as = Deploy)]
pub struct DeployV1Body {
    /// The application.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub app_name: String,
    /// Its version; without one, the one that was made last.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub version_name: Option<String>,
    /// The players' addresses.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Option<Vec<AddressText>>,
    /// The players' addresses and positions; the positions count.
    #[schema(max_items = 512, example = json!(null))]
    pub geo_ip_list: Option<Vec<GeoIpBody>>,
    /// The middle of the players.
    #[schema(example = json!(null))]
    pub location: Option<PointBody>,
    /// Where it may go; all of them must hold.
    #[schema(max_items = 32)]
    pub filters: Option<Vec<FilterBody>>,
    /// Variables beside those of the version; 128 KiB in all.
    #[schema(max_items = 256)]
    pub env_vars: Option<Vec<VariableBody>>,
    /// Tags; a repeated one counts once.
    #[schema(max_items = 64)]
    pub tags: Option<Vec<TagText>>,
    /// Called when it is ready and when it failed; may be empty.
    #[schema(max_length = 2048, format = "web-address-or-empty")]
    pub webhook_url: Option<String>,
    /// In place of the version's command.
    #[schema(max_length = 4096, format = "prose", example = json!(null))]
    pub command: Option<String>,
    /// In place of the version's arguments.
    #[schema(max_length = 4096, format = "prose", example = json!(null))]
    pub arguments: Option<String>,
    /// Where the log goes, in place of the version's.
    pub container_log_storage: Option<LogChoiceBody>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", deprecated, example = json!(null))]
    pub city: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", deprecated, example = json!(null))]
    pub country: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", deprecated, example = json!(null))]
    pub continent: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", deprecated, example = json!(null))]
    pub region: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", deprecated, example = json!(null))]
    pub administrative_division: Option<String>,
    /// Without effect.
    #[schema(deprecated, example = false)]
    pub is_public_app: Option<bool>,
    /// Without effect.
    #[schema(default = true, example = true)]
    pub skip_telemetry: Option<bool>,
    /// Without effect.
    #[schema(max_items = 512, deprecated, example = json!(null))]
    pub telemetry_profile_uuid_list: Option<Vec<String>>,
    /// Without effect.
    #[schema(deprecated, example = json!(null))]
    pub ap_sort_strategy: Option<SortStrategy>,
}

/// Without effect.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum SortStrategy {
    /// The default.
    Basic,
    /// The other.
    Weighted,
}

/// A player's address and position.
#[derive(ToSchema)]
#[schema(as = GeoIp)]
pub struct GeoIpBody {
    /// IPv4 or IPv6.
    pub ip: AddressText,
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = 45.75)]
    pub latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = 4.85)]
    pub longitude: f64,
}

/// A filter on where it may go.
#[derive(ToSchema)]
#[schema(as = LocationFilter)]
pub struct FilterBody {
    /// What of a location is compared.
    pub field: FilterField,
    /// With what; case does not matter.
    #[schema(min_items = 1, max_items = 256, example = json!(["Europe"]))]
    pub values: Vec<FilterValue>,
    /// How.
    pub filter_type: FilterKind,
}

/// What of a location is compared.
#[derive(ToSchema)]
#[schema(as = LocationFilterField, rename_all = "snake_case", example = "continent")]
pub enum FilterField {
    /// City.
    City,
    /// Country.
    Country,
    /// Continent.
    Continent,
    /// Region.
    Region,
    /// State, province, county.
    AdministrativeDivision,
    /// The location's tags.
    LocationTags,
}

/// A value of a filter.
#[derive(ToSchema)]
#[schema(as = LocationFilterValue, value_type = String, min_length = 1, max_length = 255, format = "line", example = "Europe")]
pub struct FilterValue(pub String);

/// How values are compared.
#[derive(ToSchema)]
#[schema(as = LocationFilterType, rename_all = "lowercase", example = "any")]
pub enum FilterKind {
    /// At least one matches.
    Any,
    /// Every one matches.
    All,
    /// None matches.
    Not,
}

/// Where a log goes.
#[derive(ToSchema)]
#[schema(as = ContainerLogStorage)]
pub struct LogChoiceBody {
    /// Whether it is stored.
    #[schema(example = false)]
    pub enabled: bool,
    /// The storage's name; without one, the version's.
    #[schema(max_length = 64, format = "line", example = json!(null))]
    pub endpoint_storage: Option<String>,
}

/// What the answer repeats of a body beyond what the deployment itself says.
pub struct Repeated {
    tags: bool,
    ap_sort_strategy: Option<String>,
}

/// Reads a deploy request.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<(DeployRequest, Repeated), Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("app_name");
    let app = body.parsed("app_name", AppName::parse);
    let version = body.parsed("version_name", VersionName::parse);
    let (addresses, positions) = (ip_list(&body), geo_ip_list(&body));
    let centroid = body.object("location").and_then(|location| point(&location));
    if ["ip_list", "geo_ip_list", "location"].iter().all(|key| body.value(key).is_none()) {
        body.note("ip_list", "or geo_ip_list or location is needed");
    }
    let players = if positions.is_empty() { addresses } else { positions };
    if players.is_empty() && body.value("location").is_none() && problems.is_empty() {
        let key = if body.value("geo_ip_list").is_some() { "geo_ip_list" } else { "ip_list" };
        body.note(key, "must not be empty");
    }
    let filters = filters(&body);
    // Unreal's plugin sends the empty text where it has no address.
    let webhook = body
        .parsed("webhook_url", |text| if text.trim().is_empty() { Ok(None) } else { url(text).map(Some) });
    let webhook = webhook.flatten();
    let webhooks = WebhookUrls { on_ready: webhook.clone(), on_error: webhook, on_terminated: None };
    let env = read_env(&body, "env_vars", false).unwrap_or_default();
    let tags = read_tags(&body);
    let (command, arguments) = (text(&body, "command"), text(&body, "arguments"));
    let log_storage = log_storage(&body);
    let ap_sort_strategy = retired(&body);
    problems.into_result()?;
    let Some(app) = app else { return Err(Invalid::new("app_name", "is missing").into()) };
    let repeated = Repeated { tags: !tags.is_empty(), ap_sort_strategy };
    let request = DeployRequest {
        app,
        version,
        players,
        centroid,
        filters,
        preferred_hosts: Vec::new(),
        require_cached: false,
        env,
        tags,
        webhooks,
        command,
        arguments,
        log_storage,
        resources: None,
    };
    Ok((request, repeated))
}

fn ip_list(body: &Fields<'_>) -> Vec<Player> {
    let addresses = body.texts("ip_list", USERS_MAX, address).unwrap_or_default();
    addresses.into_iter().map(Player::Address).collect()
}

fn geo_ip_list(body: &Fields<'_>) -> Vec<Player> {
    let read = |item: &Fields<'_>| {
        item.require("ip");
        let ip = item.parsed("ip", address);
        let at = point(item);
        ip.and(at).map(Player::At)
    };
    body.objects("geo_ip_list", USERS_MAX).unwrap_or_default().iter().filter_map(read).collect()
}

pub(super) fn filters(body: &Fields<'_>) -> Vec<LocationFilter> {
    let items = body.objects("filters", FILTERS_MAX).unwrap_or_default();
    let mut filters: Vec<LocationFilter> = items.iter().filter_map(filter).collect();
    for (key, field) in [
        ("city", LocationField::City),
        ("country", LocationField::Country),
        ("continent", LocationField::Continent),
        ("region", LocationField::Region),
        ("administrative_division", LocationField::AdministrativeDivision),
    ] {
        let value = body.line(key, 0..=VALUE_CHARS_MAX).filter(|value| !value.trim().is_empty());
        filters.extend(value.map(|value| LocationFilter {
            field,
            values: vec![value.to_owned()],
            filter_type: FilterType::Any,
        }));
    }
    filters
}

pub(super) fn filter(item: &Fields<'_>) -> Option<LocationFilter> {
    for key in ["field", "values", "filter_type"] {
        item.require(key);
    }
    let bare = |invalid: Invalid| Invalid::new("", invalid.problem);
    let field = item.parsed("field", |text| LocationField::parse(text).map_err(bare));
    let filter_type = item.parsed("filter_type", |text| FilterType::parse(text).map_err(bare));
    let values = item.texts("values", FILTER_VALUES_MAX, |text| {
        check_text(text, 1..=VALUE_CHARS_MAX)?;
        Ok(text.to_owned())
    });
    if item.is_empty_list("values") {
        item.note("values", "must not be empty");
    }
    Some(LocationFilter { field: field?, values: values?, filter_type: filter_type? })
}

fn text(body: &Fields<'_>, key: &str) -> Option<String> {
    body.prose(key, TEXT_CHARS_MAX).filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

fn log_storage(body: &Fields<'_>) -> Option<LogStorage> {
    let storage = body.object("container_log_storage")?;
    storage.require("enabled");
    let name = storage.line("endpoint_storage", 0..=STORAGE_NAME_CHARS_MAX).filter(|name| !name.is_empty());
    let endpoint_storage = name.map(str::to_owned);
    Some(LogStorage { enabled: storage.boolean("enabled")?, endpoint_storage })
}

/// Fields that no longer do anything; their types are still checked, so that a typo in a live one is not taken for them.
fn retired(body: &Fields<'_>) -> Option<String> {
    body.boolean("is_public_app");
    body.boolean("skip_telemetry");
    body.texts("telemetry_profile_uuid_list", USERS_MAX, |_| Ok(()));
    body.parsed("ap_sort_strategy", |text| match text {
        "basic" | "weighted" => Ok(text.to_owned()),
        _ => Err(Invalid::new("", "must be one of basic, weighted")),
    })
}

/// The answer.
#[derive(Serialize, ToSchema)]
#[schema(as = DeployAnswer)]
pub struct DeployedV1Body<'a> {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
    /// The name under which players reach it.
    #[schema(value_type = String, format = "fqdn")]
    request_dns: Fqdn<'a>,
    #[schema(example = "arena")]
    request_app: &'a str,
    #[schema(example = "v7")]
    request_version: &'a str,
    /// Players that were given.
    #[schema(example = 1)]
    request_user_count: u32,
    #[schema(value_type = Vec<FilterBody>)]
    filters: &'a [LocationFilter],
    container_log_storage: LogStorageBody<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, example = json!(["ranked"]))]
    tags: Option<TagNames<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<PointBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<SortStrategy>, example = "basic")]
    ap_sort_strategy: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ContainerLogStorageAnswer)]
struct LogStorageBody<'a> {
    #[schema(example = false)]
    enabled: bool,
    #[schema(required, example = json!(null))]
    endpoint_storage: Option<&'a str>,
}

impl<'a> DeployedV1Body<'a> {
    /// Of a deployment.
    #[must_use]
    pub fn of(view: &'a DeploymentView, repeated: &'a Repeated) -> Self {
        let spec = &*view.deployment.spec;
        let storage = spec.log_storage.as_ref();
        Self {
            request_id: Shown(view.deployment.id),
            request_dns: Fqdn(view),
            request_app: spec.app.as_str(),
            request_version: spec.version.as_str(),
            request_user_count: spec.user_count,
            filters: &spec.filters,
            container_log_storage: LogStorageBody {
                enabled: storage.is_some_and(|s| s.enabled),
                endpoint_storage: storage.and_then(|s| s.endpoint_storage.as_deref()),
            },
            tags: repeated.tags.then_some(TagNames(&view.deployment.state.tags)),
            location: spec.centroid.map(|p| PointBody { latitude: p.latitude, longitude: p.longitude }),
            ap_sort_strategy: repeated.ap_sort_strategy.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
