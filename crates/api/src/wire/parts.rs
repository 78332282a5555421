//! Pieces that several bodies share: statuses, ports, places, tags, variables.

use std::fmt;
use std::net::IpAddr;

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use spawnpoint_engine::{DeploymentView, EnvInput};
use spawnpoint_model::deployment::Tag;
use spawnpoint_model::limits::{ENV_TOTAL_BYTES_MAX, ENV_VARS_MAX};
use spawnpoint_model::site::Location;
use spawnpoint_model::{Plaintext, Status, env};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::fields::Fields;

/// Anything, as `Display` shows it.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The name under which players reach a deployment.
pub struct Fqdn<'a>(pub &'a DeploymentView);

impl Serialize for Fqdn<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{}", self.0.deployment.id, self.0.domain))
    }
}

/// Every status, as [`status_name`] writes it.
#[derive(ToSchema)]
#[schema(as = DeploymentStatus, example = "Status.READY")]
pub enum StatusName {
    /// Nothing is known yet.
    #[schema(rename = "Status.INITIALIZING")]
    Initializing,
    /// A host is looked for.
    #[schema(rename = "Status.SEEKING")]
    Seeking,
    /// A host was found.
    #[schema(rename = "Status.SEEKED")]
    Seeked,
    /// Ports are looked at.
    #[schema(rename = "Status.SCANNING")]
    Scanning,
    /// The container is being started.
    #[schema(rename = "Status.DEPLOYING")]
    Deploying,
    /// Players can come.
    #[schema(rename = "Status.READY")]
    Ready,
    /// It is being stopped.
    #[schema(rename = "Status.TERMINATING")]
    Terminating,
    /// It has ended.
    #[schema(rename = "Status.TERMINATED")]
    Terminated,
    /// It failed; `error_detail` says why.
    #[schema(rename = "Status.ERROR")]
    Error,
}

/// A status as `Status.READY`.
#[must_use]
pub const fn status_name(status: Status) -> &'static str {
    match status {
        Status::Initializing => "Status.INITIALIZING",
        Status::Seeking => "Status.SEEKING",
        Status::Seeked => "Status.SEEKED",
        Status::Scanning => "Status.SCANNING",
        Status::Deploying => "Status.DEPLOYING",
        Status::Ready => "Status.READY",
        Status::Terminating => "Status.TERMINATING",
        Status::Terminated => "Status.TERMINATED",
        Status::Error => "Status.ERROR",
    }
}

/// Where players reach it; an empty text until it has a host (clients do not stand `null`).
pub struct PublicIp<'a>(pub &'a DeploymentView);

impl Serialize for PublicIp<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let address: Option<IpAddr> = self.0.place.as_ref().map(|place| place.public_address);
        match address {
            Some(address) => serializer.collect_str(&address),
            None => serializer.serialize_str(""),
        }
    }
}

/// The `ports` object: keyed by name, else by internal number; `{}` until they are allocated.
pub struct Ports<'a>(pub &'a DeploymentView);

/// A port that was given out.
#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentPort)]
pub struct Port<'a> {
    /// The number that players use.
    #[schema(example = 31504)]
    external: u16,
    /// The number inside the container.
    #[schema(example = 7777)]
    internal: u16,
    /// `TCP`, `UDP`, `TCP/UDP`, `HTTP`, `HTTPS`, `WS` or `WSS`.
    #[schema(example = "UDP")]
    protocol: &'static str,
    /// Its name in the version; its number if it has none.
    #[schema(example = "gameport")]
    name: &'a str,
    /// Whether TLS is ended in front of it.
    #[schema(example = false)]
    tls_upgrade: bool,
    /// Where players find it.
    #[schema(example = "5d1e07a9c34b.games.example.com:31504")]
    link: String,
    /// Unused here.
    #[schema(required, example = json!(null))]
    proxy: Option<u16>,
}

impl Serialize for Ports<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ports = &self.0.deployment.state.ports;
        let mut map = serializer.serialize_map(Some(ports.len()))?;
        for port in ports {
            let entry = Port {
                external: port.external,
                internal: port.internal,
                protocol: port.protocol.as_str(),
                name: &port.name,
                tls_upgrade: port.tls_upgrade,
                link: self.0.link(port),
                proxy: None,
            };
            map.serialize_entry(&port.name, &entry)?;
        }
        map.end()
    }
}

/// Where a deployment is; `null` until it has a host.
#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentLocation)]
pub struct Place<'a> {
    #[schema(example = "Lyon")]
    city: &'a str,
    #[schema(example = "France")]
    country: &'a str,
    #[schema(example = "Europe")]
    continent: &'a str,
    #[schema(example = "Rhone")]
    administrative_division: &'a str,
    #[schema(example = "Central European Time")]
    timezone: &'a str,
    #[schema(example = 45.75)]
    latitude: f64,
    #[schema(example = 4.85)]
    longitude: f64,
}

impl<'a> Place<'a> {
    /// Of a deployment.
    #[must_use]
    pub fn of(view: &'a DeploymentView) -> Option<Self> {
        Some(Self::at(&view.place.as_ref()?.location))
    }

    /// Of a site.
    #[must_use]
    pub fn at(location: &'a Location) -> Self {
        let Location { city, country, continent, administrative_division, timezone, latitude, longitude } =
            location;
        let (latitude, longitude) = (*latitude, *longitude);
        Self { city, country, continent, administrative_division, timezone, latitude, longitude }
    }
}

/// The names of a deployment's tags.
pub struct TagNames<'a>(pub &'a [Tag]);

impl Serialize for TagNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for tag in self.0 {
            list.serialize_element(tag.name.as_str())?;
        }
        list.end()
    }
}

/// How many sockets there are, and how many of them sessions take; `null` for a version without sessions.
#[must_use]
pub fn sockets(view: &DeploymentView) -> (Option<u32>, Option<u32>) {
    let sockets = view.deployment.spec.sockets();
    (sockets, sockets.map(|_| view.sockets_taken()))
}

/// An IPv4 or IPv6 address.
pub struct AddressText;

impl PartialSchema for AddressText {
    fn schema() -> RefOr<Schema> {
        let text = |format| {
            ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(format)))
        };
        let either = AnyOfBuilder::new().item(text(KnownFormat::Ipv4)).item(text(KnownFormat::Ipv6));
        either.description(Some("An IPv4 or IPv6 address.")).examples(["198.51.100.7"]).into()
    }
}

impl ToSchema for AddressText {
    fn name() -> std::borrow::Cow<'static, str> {
        "IpAddress".into()
    }
}

/// A tag's name.
#[derive(ToSchema)]
#[schema(as = TagName, value_type = String, min_length = 1, max_length = 40, format = "line", example = "ranked")]
pub struct TagText(pub String);

/// A variable of a deploy request or of a new version, as users write it.
#[derive(ToSchema)]
#[schema(as = EnvironmentVariable)]
pub struct VariableBody {
    /// Its name; what is no letter, digit or underscore becomes an underscore. `ARBITRIUM_` is taken.
    #[schema(min_length = 1, max_length = 255, format = "env-key", example = "GAME_MODE")]
    pub key: String,
    /// Its value.
    #[schema(max_length = 4096, format = "no-nul", example = "ranked")]
    pub value: String,
    /// Whether it is never shown again.
    #[schema(default = false, example = false)]
    pub is_hidden: Option<bool>,
    /// An older name of `is_hidden`: whoever sets either means it.
    #[schema(default = false, example = false)]
    pub is_secret: Option<bool>,
}

/// Reads a list of variables. `keep_hidden` lets a hidden one come without a value: it keeps the one it has.
#[must_use]
pub fn read_env(body: &Fields<'_>, key: &str, keep_hidden: bool) -> Option<Vec<EnvInput>> {
    let items = body.objects(key, ENV_VARS_MAX)?;
    let inputs: Vec<EnvInput> = items.iter().filter_map(|item| variable(item, keep_hidden)).collect();
    let keys: Vec<String> = inputs.iter().map(|input| input.key.clone()).collect();
    // With a bad item among them, positions would be off: a repeated key is named once the others are mended.
    if keys.len() == items.len()
        && let Err(invalids) = env::check_list(key, &keys)
    {
        for invalid in invalids.0 {
            body.note(&invalid.field, invalid.problem);
        }
    }
    let bytes: usize =
        inputs.iter().map(|i| i.key.len() + i.value.as_ref().map_or(0, |v| v.reveal().len()) + 2).sum();
    if bytes > ENV_TOTAL_BYTES_MAX {
        body.note(key, format!("must have at most {ENV_TOTAL_BYTES_MAX} bytes in all, not {bytes}"));
    }
    Some(inputs)
}

fn variable(item: &Fields<'_>, keep_hidden: bool) -> Option<EnvInput> {
    item.require("key");
    let name = item.parsed("key", env::sanitize_key);
    // The flag was `is_secret` once; whoever sets either means it.
    let (is_hidden, is_secret) = (item.boolean("is_hidden"), item.boolean("is_secret"));
    let hidden = is_hidden.unwrap_or(false) || is_secret.unwrap_or(false);
    let value = item.text("value");
    if !(hidden && keep_hidden) {
        item.require("value");
    }
    if let Some(value) = value {
        item.check("value", env::check_value(value))?;
    }
    Some(EnvInput { key: name?, value: value.map(Plaintext::new), hidden })
}
