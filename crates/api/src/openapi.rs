//! The description of the API (OpenAPI 3.1), generated from the handlers, and served at `/swagger.json` and
//! `/v2/openapi.json`.
//!
//! Each handler carries `#[utoipa::path]` with what is its own: path, operation id, tag, parameters, body, answers. What
//! holds for many is added here, so that nobody forgets it:
//!
//! - answers that come from extractors and the error mapping: 401, 403, 429 where a token is needed, 400 where something
//!   can be wrong, 408, 413, 415 where there is a body, 500 and 503 everywhere ([`mod@shared`]);
//! - the error bodies of v1 and v2;
//! - patterns and examples of the formats that our readers know ([`formats`]);
//! - one example of each body, put together from the examples of its fields ([`examples`]).
//!
//! The route table gives handler and description together (`utoipa_axum::routes!`): a route without a description does
//! not compile. What must not be here: anything about what an operation does.
//!
//! Both documents are OpenAPI 3.1, as the published v1 description is since 2026; servers are relative, so that they are
//! right wherever the document was fetched from. v2 paths stand under the server `/v2`, as published.

pub mod examples;
pub mod formats;
pub mod params;
pub mod shared;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::router::{Route, table};

/// Tags: the groups in which operations are shown.
pub mod tag {
    /// Applications and versions.
    pub const APPLICATIONS: &str = "Applications";
    /// Deployments.
    pub const DEPLOYMENTS: &str = "Deployments";
    /// Tags of deployments.
    pub const TAGS: &str = "Deployment Tags";
    /// What containers ask.
    pub const CONTEXT: &str = "Context";
    /// Private fleets.
    pub const PRIVATE_FLEETS: &str = "Private Fleets";
    /// Sessions.
    pub const SESSIONS: &str = "Sessions";
    /// Sessions that users name.
    pub const CUSTOM_SESSIONS: &str = "Custom Sessions";
    /// Smart fleets.
    pub const FLEETS: &str = "Fleets";
    /// Figures of deployments.
    pub const METRICS: &str = "Metrics";
    /// Log storages and pull profiles.
    pub const STORAGE: &str = "Endpoint Storage";
    /// Where one can deploy.
    pub const LOCATIONS: &str = "Locations";
    /// Which deployment is near whom.
    pub const TELEMETRY: &str = "Telemetry";
    /// The caller's address.
    pub const IP: &str = "IP Lookup";
    /// Images in the registry of the configuration.
    pub const REGISTRY: &str = "Container Registry";
    /// What plugins ask before they accept a token.
    pub const WIZARD: &str = "Wizard";
    /// Whether the server is up, and what it can do.
    pub const MONITORING: &str = "Monitoring";
    /// What Spawnpoint has beyond Edgegap's API.
    pub const EXTENSIONS: &str = "Spawnpoint extensions";
}

/// The security scheme of API tokens.
pub const API_TOKEN: &str = "api-token";
/// The security scheme of the token that a container has for its own deployment.
pub const DEPLOYMENT_TOKEN: &str = "deployment-token";

const TAGS: [(&str, &str); 17] = [
    (tag::APPLICATIONS, "Applications and their versions: what is deployed."),
    (tag::DEPLOYMENTS, "Deployments: running game servers."),
    (tag::TAGS, "Tags of deployments, by which they are found and stopped."),
    (tag::CONTEXT, "What a container asks about its own deployment, with a token of its own."),
    (tag::PRIVATE_FLEETS, "Hosts that take only deployments which name them."),
    (tag::SESSIONS, "Players, or matches of players, on deployments with sockets."),
    (tag::CUSTOM_SESSIONS, "Sessions on one deployment, under names of yours."),
    (tag::FLEETS, "Smart fleets: deployments that are there before anybody asks."),
    (tag::METRICS, "What deployments use."),
    (tag::STORAGE, "S3 buckets for logs, and files that are put into containers before they start."),
    (tag::LOCATIONS, "Where one can deploy, and the beacons that stand there."),
    (tag::TELEMETRY, "Which of some running deployments is the best for some players."),
    (tag::IP, "Addresses, and where they are."),
    (tag::REGISTRY, "Tags of images in the registry of the configuration."),
    (tag::WIZARD, "What plugins ask before they accept a token."),
    (tag::MONITORING, "Whether the server is up, and what it can do."),
    (tag::EXTENSIONS, "What Spawnpoint has beyond Edgegap's API."),
];

/// Where v2 stands.
const V2: &str = "/v2";

/// Both documents, as they are served.
pub struct Documents {
    /// Everything but v2.
    pub v1: Bytes,
    /// v2.
    pub v2: Bytes,
}

/// The documents; made when they are first asked for.
pub fn documents() -> &'static Documents {
    static DOCUMENTS: LazyLock<Documents> = LazyLock::new(|| {
        let whole = whole(table());
        let is_v2 = |path: &str| path.starts_with("/v2/");
        let bytes = |value: Value| Bytes::from(format!("{value:#}\n"));
        Documents {
            v1: bytes(part(&whole, "Spawnpoint v1 API", "", |path| !is_v2(path))),
            v2: bytes(part(&whole, "Spawnpoint v2 API", V2, is_v2)),
        }
    });
    &DOCUMENTS
}

/// Everything in one document.
fn whole(routes: Vec<Route>) -> Value {
    let mut document = OpenApi::default();
    let mut schemas = utoipa::openapi::Components::new();
    for route in routes {
        document.paths.merge(route.described);
        schemas.schemas.extend(route.schemas);
    }
    document.components = Some(schemas);
    let mut document = serde_json::to_value(&document).unwrap_or_default();
    shared::add_schemas(&mut document);
    formats::expand(&mut document);
    shared::add_answers(&mut document);
    examples::add(&mut document);
    document
}

/// The paths that `belongs` picks, under a server at `base`, with the schemas that they need.
fn part(whole: &Value, title: &str, base: &str, belongs: impl Fn(&str) -> bool) -> Value {
    let all = whole["paths"].as_object().into_iter().flatten();
    let paths: Map<String, Value> = all
        .filter(|(path, _)| belongs(path))
        .map(|(path, item)| (path.strip_prefix(base).unwrap_or(path).to_owned(), item.clone()))
        .collect();
    let paths = Value::Object(paths);
    let used = tags_of(&paths);
    let tags: Vec<Value> = TAGS
        .iter()
        .filter(|(name, _)| used.contains(*name))
        .map(|(name, description)| json!({"name": name, "description": description}))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The API of a self-hosted Spawnpoint, compatible with Edgegap's. Where it differs, and why: \
                docs/compatibility.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": if base.is_empty() { "/" } else { base }}],
        "security": [{API_TOKEN: []}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": needed(&paths, &whole["components"]["schemas"]),
            "securitySchemes": {
                API_TOKEN: {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "An API token, after the word `token`: `Authorization: token <secret>`. The word \
                        `Bearer` or no word at all are understood as well.",
                },
                DEPLOYMENT_TOKEN: {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "The token that a container was given for its own deployment, bare: \
                        ARBITRIUM_DELETE_TOKEN or ARBITRIUM_CONTEXT_TOKEN.",
                },
            },
        },
    })
}

fn tags_of(paths: &Value) -> BTreeSet<String> {
    let operations =
        paths.as_object().into_iter().flatten().filter_map(|(_, item)| item.as_object()).flatten();
    let tags = operations.filter_map(|(_, operation)| operation["tags"].as_array()).flatten();
    tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

/// The schemas that `paths` refer to, directly or through others.
fn needed(paths: &Value, schemas: &Value) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = references(paths);
    while let Some(name) = open.pop() {
        if !found.contains_key(&name) {
            let schema = schemas[&name].clone();
            open.extend(references(&schema));
            found.insert(name, schema);
        }
    }
    found
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => object
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    shared::schema_name(target).map(str::to_owned).into_iter().collect()
                }
                _ => references(value),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod readers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        for text in [&documents().v1, &documents().v2] {
            let document: Value = serde_json::from_slice(text).unwrap();
            for name in references(&document) {
                assert!(document["components"]["schemas"][&name].is_object(), "{name}");
            }
        }
    }

    #[test]
    fn every_tag_is_described() {
        for text in [&documents().v1, &documents().v2] {
            let document: Value = serde_json::from_slice(text).unwrap();
            for tag in tags_of(&document["paths"]) {
                assert!(TAGS.iter().any(|(name, _)| *name == tag), "{tag}");
            }
        }
    }
}
