//! Which of some deployments is the best for some players: the request, its receipt, and the result.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_engine::Player;
use spawnpoint_engine::telemetry::{TelemetryRequest, TelemetryResult, Ticket};
use spawnpoint_model::limits::{TELEMETRY_DEPLOYMENTS_MAX, USERS_MAX};
use spawnpoint_model::{DeploymentId, Invalid, Invalids};
use utoipa::ToSchema;

use super::deploy_v2::{address, url};
use super::parts::{AddressText, Shown};
use crate::dates::V1Date;
use crate::fields::{Fields, Problems};

/// What is to be compared, and for whom.
#[derive(ToSchema)]
#[schema(as = ActiveDeploymentTelemetryRequest)]
pub struct TelemetryBody {
    /// The deployments; one that is named twice counts once.
    #[schema(min_items = 1, max_items = 100, example = json!(["5d1e07a9c34b"]))]
    pub deployments: Vec<DeploymentIdText>,
    /// Addresses of the players. Those whose position is not known are left out.
    #[schema(min_items = 1, max_items = 512, example = json!(["198.51.100.7"]))]
    pub ips: Vec<AddressText>,
    /// Is called with the result.
    #[schema(min_length = 1, max_length = 2048, format = "web-address")]
    pub webhook_url: Option<String>,
}

/// A deployment's id.
#[derive(ToSchema)]
#[schema(as = DeploymentId, value_type = String, format = "deployment-id")]
pub struct DeploymentIdText(pub String);

/// Reads the request.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<TelemetryRequest, Invalids> {
    let problems = Problems::new();
    let body = Fields::new(object, &problems);
    for key in ["deployments", "ips"] {
        body.require(key);
        if body.is_empty_list(key) {
            body.note(key, "must not be empty");
        }
    }
    let id = |text: &str| -> Result<DeploymentId, Invalid> {
        text.parse().map_err(|error| Invalid::new("", format!("{error}")))
    };
    let named = body.texts("deployments", TELEMETRY_DEPLOYMENTS_MAX, id).unwrap_or_default();
    let addresses = body.texts("ips", USERS_MAX, address).unwrap_or_default();
    let webhook = body.parsed("webhook_url", url);
    problems.into_result()?;
    let mut deployments = Vec::with_capacity(named.len());
    for id in named {
        if !deployments.contains(&id) {
            deployments.push(id);
        }
    }
    let players = addresses.into_iter().map(Player::Address).collect();
    Ok(TelemetryRequest { deployments, players, webhook })
}

/// Where the result is fetched.
#[derive(Serialize, ToSchema)]
#[schema(as = ActiveDeploymentTelemetryResponse)]
pub struct TicketBody<'a> {
    /// The key of the result.
    #[schema(example = "9c0c1c3a5f7e4d2b8a6f1e0d3c5b7a99")]
    retrieval_key: &'a str,
    /// When it is forgotten.
    expire: V1Date,
}

impl<'a> TicketBody<'a> {
    /// Of a ticket.
    #[must_use]
    pub fn of(ticket: &'a Ticket) -> Self {
        Self { retrieval_key: &ticket.key, expire: V1Date(ticket.expires_at) }
    }
}

/// The order of the deployments.
#[derive(Serialize, ToSchema)]
#[schema(as = ActiveDeploymentTelemetryGetResult)]
pub struct ResultBody<'a> {
    /// The key of the result.
    #[schema(example = "9c0c1c3a5f7e4d2b8a6f1e0d3c5b7a99")]
    retrieval_key: &'a str,
    /// The best first.
    scores: Vec<ScoreBody>,
    /// Whether some are missing: they are not there, have ended, or have no host yet.
    #[schema(example = false)]
    partial_result: bool,
}

/// A deployment, by its place in the list.
#[derive(Serialize, ToSchema)]
#[schema(as = ActiveDeploymentTelemetryScore)]
struct ScoreBody {
    #[schema(value_type = String, format = "deployment-id")]
    request_id: Shown<DeploymentId>,
}

impl<'a> ResultBody<'a> {
    /// Of a result.
    #[must_use]
    pub fn of(result: &'a TelemetryResult) -> Self {
        let scores = result.best_first.iter().map(|id| ScoreBody { request_id: Shown(*id) });
        Self { retrieval_key: &result.key, scores: scores.collect(), partial_result: result.is_partial }
    }
}

/// Writes a result, for the webhook.
#[must_use]
pub fn render(result: &TelemetryResult) -> String {
    super::to_json(&ResultBody::of(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_with(key: &str, value: Value) -> Result<TelemetryRequest, Invalids> {
        let mut body = json!({"deployments": ["5d1e07a9c34b"], "ips": ["192.0.2.1"]});
        body[key] = value;
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object)
    }

    #[test]
    fn a_deployment_that_is_named_twice_counts_once() {
        let ids = json!(["5d1e07a9c34b", "000000000001", "5d1e07a9c34b"]);
        let request = read_with("deployments", ids).unwrap();
        assert_eq!(request.deployments.len(), 2);
        assert_eq!(request.players.len(), 1);
        assert!(request.webhook.is_none());
    }

    #[test]
    fn bad_fields_are_named() {
        for (key, value, field) in [
            ("deployments", Value::Null, "deployments"),
            ("deployments", json!([]), "deployments"),
            ("deployments", json!("5d1e07a9c34b"), "deployments"),
            ("deployments", json!(["5d1e07a9c34b", "x"]), "deployments[1]"),
            ("deployments", json!(vec!["5d1e07a9c34b"; TELEMETRY_DEPLOYMENTS_MAX + 1]), "deployments"),
            ("ips", Value::Null, "ips"),
            ("ips", json!([]), "ips"),
            ("ips", json!(["nowhere"]), "ips[0]"),
            ("ips", json!(vec!["192.0.2.1"; USERS_MAX + 1]), "ips"),
            ("webhook_url", json!(7), "webhook_url"),
            ("webhook_url", json!("ftp://x"), "webhook_url"),
        ] {
            let invalids = read_with(key, value.clone()).expect_err("it is refused");
            assert_eq!(invalids.0[0].field, field, "{key} {value:.60}");
        }
    }
}
