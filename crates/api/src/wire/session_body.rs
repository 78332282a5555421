//! Bodies that make, change and delete sessions.
//!
//! Where the players are: as in `POST /v1/deploy`, `location` wins over `geo_ip_list`, which wins over `ip_list`. None of them
//! is needed: a match may be waiting for its players.

use std::net::IpAddr;

use serde_json::{Map, Value};
use spawnpoint_engine::sessions::{CustomSession, SessionField, SessionFilter, SessionRequest, UserInput};
use spawnpoint_model::limits::{SELECTOR_VALUE_CHARS_MAX, SELECTORS_MAX, SESSIONS_AT_ONCE_MAX, USERS_MAX};
use spawnpoint_model::names::{CustomId, TagName};
use spawnpoint_model::session::Selector;
use spawnpoint_model::{AppName, Invalid, Invalids, Plaintext, VersionName, env};
use utoipa::ToSchema;

use super::bulk_stop::{self, StopValue};
use super::deploy_v1::{FilterBody, FilterKind, GeoIpBody, filters};
use super::deploy_v2::{PointBody, address, point, url};
use super::parts::{AddressText, TagText};
use crate::fields::{Fields, Problems};

/// A session that is asked for, as [`read`] reads it.
#[derive(ToSchema)]
#[schema(as = NewSession)]
pub struct NewSessionBody {
    /// The application.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "arena")]
    pub app_name: String,
    /// Its version; without one, the one that was made last.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub version_name: Option<String>,
    /// The players' addresses; two players may share one.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Option<Vec<AddressText>>,
    /// The players' addresses and positions.
    #[schema(max_items = 512, example = json!(null))]
    pub geo_ip_list: Option<Vec<GeoIpBody>>,
    /// The deployment on which it is to be; without one, the best is looked for.
    #[schema(format = "deployment-id", example = "5d1e07a9c34b")]
    pub deployment_request_id: Option<String>,
    /// The middle of the players.
    #[schema(example = json!(null))]
    pub location: Option<PointBody>,
    /// Where its deployment may be; all of them must hold.
    #[schema(max_items = 32, example = json!(null))]
    pub filters: Option<Vec<FilterBody>>,
    /// What its deployment must carry, and what a new one is given.
    #[schema(max_items = 32)]
    pub selectors: Option<Vec<SelectorBody>>,
    /// Called when it has a deployment that is ready, when none takes it, and when its deployment fails; may be empty.
    #[schema(max_length = 2048, format = "web-address-or-empty")]
    pub webhook_url: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub city: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub country: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub continent: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub region: Option<String>,
    /// The same as a filter.
    #[schema(max_length = 255, format = "line", example = json!(null))]
    pub administrative_division: Option<String>,
    /// Without effect.
    #[schema(example = false)]
    pub skip_telemetry: Option<bool>,
}

/// What a session asks of its deployment.
#[derive(ToSchema)]
#[schema(as = NewSelector)]
pub struct SelectorBody {
    /// A tag that the deployment must carry; a new one is given it.
    pub tag: TagText,
    /// Whether the tag only says something about the session.
    #[schema(default = false, example = false)]
    pub tag_only: Option<bool>,
    /// A variable for a deployment that is made for the session.
    #[schema(example = json!(null))]
    pub env: Option<SelectorEnvBody>,
}

/// A variable for a new deployment; without a key it is none.
#[derive(ToSchema)]
#[schema(as = SelectorEnv)]
pub struct SelectorEnvBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 255, format = "env-key", example = "GAME_MODE")]
    pub key: Option<String>,
    /// Its value.
    #[schema(max_length = 1024, format = "no-nul", example = "ranked")]
    pub value: Option<String>,
}

/// A session under a name of its user's.
#[derive(ToSchema)]
#[schema(as = CustomSession)]
pub struct CustomSessionBody {
    /// The players' addresses; two players may share one.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Vec<AddressText>,
    /// As for other sessions; may be empty.
    #[schema(max_length = 2048, format = "web-address-or-empty")]
    pub webhook_url: Option<String>,
}

/// Several of them.
#[derive(ToSchema)]
#[schema(as = CustomSessions)]
pub struct CustomSessionsBody {
    /// Each is made by itself.
    #[schema(min_items = 1, max_items = 256)]
    pub sessions: Vec<NamedSessionBody>,
}

/// One of several.
#[derive(ToSchema)]
#[schema(as = NamedCustomSession)]
pub struct NamedSessionBody {
    /// Its name, unique on the deployment.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "party-7")]
    pub custom_id: String,
    /// The players' addresses; two players may share one.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Vec<AddressText>,
    /// As for other sessions; may be empty.
    #[schema(max_length = 2048, format = "web-address-or-empty")]
    pub webhook_url: Option<String>,
}

/// Which to delete.
#[derive(ToSchema)]
#[schema(as = CustomSessionsDelete)]
pub struct CustomDeletesBody {
    /// Names.
    #[schema(min_items = 1, max_items = 256, example = json!(["party-7"]))]
    pub sessions: Vec<CustomIdText>,
}

/// The name that a user gave a session.
#[derive(ToSchema)]
#[schema(as = CustomId, value_type = String, min_length = 1, max_length = 64, format = "name", example = "party-7")]
pub struct CustomIdText(pub String);

/// Players who come or go.
#[derive(ToSchema)]
#[schema(as = SessionUsersChange)]
pub struct UsersChangeBody {
    /// Their addresses; one player for each.
    #[schema(max_items = 512, example = json!(["198.51.100.7"]))]
    pub ip_list: Vec<AddressText>,
}

/// Which sessions to delete.
#[derive(ToSchema)]
#[schema(as = SessionsBulkStop)]
pub struct SessionsStopBody {
    /// Filters; all of them must match.
    #[schema(min_items = 1, max_items = 32)]
    pub filters: Vec<SessionFilterBody>,
}

/// A filter on which sessions are deleted.
#[derive(ToSchema)]
#[schema(as = SessionsBulkStopFilter)]
pub struct SessionFilterBody {
    /// What of a session is compared.
    pub field: SessionFieldBody,
    /// With what, without the blanks around it.
    #[schema(min_items = 1, max_items = 1000, example = json!(["ranked"]))]
    pub values: Vec<StopValue>,
    /// How.
    pub filter_type: FilterKind,
}

/// What of a session is compared.
#[derive(ToSchema)]
#[schema(as = SessionsBulkStopField, rename_all = "snake_case", example = "deployment_tags")]
pub enum SessionFieldBody {
    /// Its id.
    SessionId,
    /// The tags of its deployment.
    DeploymentTags,
    /// Its deployment's id.
    RequestId,
}

/// Reads a session that is asked for.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<SessionRequest, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("app_name");
    let app = body.parsed("app_name", AppName::parse);
    let version = body.parsed("version_name", VersionName::parse);
    let (addresses, positions) = (ips(&body), geo_ips(&body));
    let not_an_id = || Invalid::new("", "must be the id of a deployment: 12 lower-case hex digits");
    let deployment =
        body.parsed("deployment_request_id", |text| text.trim().parse().map_err(|_| not_an_id()));
    let centroid = body.object("location").and_then(|location| point(&location));
    let filters = filters(&body);
    let selectors = selectors(&body);
    let webhook = webhook(&body);
    body.boolean("skip_telemetry");
    problems.into_result()?;
    let Some(app) = app else { return Err(Invalid::new("app_name", "is missing").into()) };
    let users = if positions.is_empty() {
        addresses.into_iter().map(|ip| UserInput { ip, at: None }).collect()
    } else {
        positions
    };
    Ok(SessionRequest { app, version, users, deployment, centroid, filters, selectors, webhook })
}

fn ips(body: &Fields<'_>) -> Vec<IpAddr> {
    body.texts("ip_list", USERS_MAX, address).unwrap_or_default()
}

fn geo_ips(body: &Fields<'_>) -> Vec<UserInput> {
    let read = |item: &Fields<'_>| {
        item.require("ip");
        let ip = item.parsed("ip", address);
        let at = point(item);
        Some(UserInput { ip: ip?, at: Some(at?) })
    };
    body.objects("geo_ip_list", USERS_MAX).unwrap_or_default().iter().filter_map(read).collect()
}

fn selectors(body: &Fields<'_>) -> Vec<Selector> {
    let read = |item: &Fields<'_>| {
        item.require("tag");
        let tag = item.parsed("tag", TagName::parse);
        let tag_only = item.boolean("tag_only").unwrap_or(false);
        let env = item.object("env").and_then(|variable| variable_of(&variable));
        Some(Selector { tag: tag?, tag_only, env })
    };
    body.objects("selectors", SELECTORS_MAX).unwrap_or_default().iter().filter_map(read).collect()
}

/// A variable. The published example is an empty object, which is none.
fn variable_of(item: &Fields<'_>) -> Option<(String, String)> {
    let key = item.parsed("key", env::sanitize_key);
    let value = item.text("value").unwrap_or_default();
    let count = value.chars().count();
    if count > SELECTOR_VALUE_CHARS_MAX {
        item.note("value", format!("must have at most {SELECTOR_VALUE_CHARS_MAX} characters, not {count}"));
    }
    item.check("value", env::check_value(value))?;
    Some((key?, value.to_owned()))
}

/// Clients send the empty text where they have no address.
fn webhook(body: &Fields<'_>) -> Option<Plaintext> {
    let read = |text: &str| if text.trim().is_empty() { Ok(None) } else { url(text).map(Some) };
    body.parsed("webhook_url", read).flatten()
}

/// Reads a custom session; its name comes with the path.
///
/// # Errors
/// Every bad field.
pub fn read_custom(object: &Map<String, Value>, custom_id: CustomId) -> Result<CustomSession, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("ip_list");
    let session = CustomSession { custom_id, ips: ips(&body), webhook: webhook(&body) };
    problems.into_result()?;
    Ok(session)
}

/// Reads several custom sessions.
///
/// # Errors
/// Every bad field.
pub fn read_customs(object: &Map<String, Value>) -> Result<Vec<CustomSession>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("sessions");
    if body.is_empty_list("sessions") {
        body.note("sessions", "must not be empty");
    }
    let read = |item: &Fields<'_>| {
        item.require("custom_id");
        item.require("ip_list");
        let custom_id = item.parsed("custom_id", CustomId::parse);
        let (ips, webhook) = (ips(item), webhook(item));
        Some(CustomSession { custom_id: custom_id?, ips, webhook })
    };
    let items = body.objects("sessions", SESSIONS_AT_ONCE_MAX).unwrap_or_default();
    let sessions = items.iter().filter_map(read).collect();
    problems.into_result()?;
    Ok(sessions)
}

/// Reads which custom sessions to delete.
///
/// # Errors
/// Every bad field.
pub fn read_custom_deletes(object: &Map<String, Value>) -> Result<Vec<CustomId>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("sessions");
    if body.is_empty_list("sessions") {
        body.note("sessions", "must not be empty");
    }
    let ids = body.texts("sessions", SESSIONS_AT_ONCE_MAX, CustomId::parse).unwrap_or_default();
    problems.into_result()?;
    Ok(ids)
}

/// Reads players who come or go.
///
/// # Errors
/// Every bad field.
pub fn read_users(object: &Map<String, Value>) -> Result<Vec<IpAddr>, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    body.require("ip_list");
    let ips = ips(&body);
    problems.into_result()?;
    Ok(ips)
}

/// Reads the filters of a bulk stop.
///
/// # Errors
/// Every bad field.
pub fn read_filters(object: &Map<String, Value>) -> Result<Vec<SessionFilter>, Invalids> {
    let fields = [
        ("session_id", SessionField::Id),
        ("deployment_tags", SessionField::DeploymentTags),
        ("request_id", SessionField::Deployment),
    ];
    bulk_stop::read_filters(object, &fields, |field, values, filter_type| SessionFilter {
        field,
        values,
        filter_type,
    })
}
