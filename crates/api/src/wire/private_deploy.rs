//! The body of `POST /v2/private-fleets/deployments`: a v2 deploy request that names hosts.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use spawnpoint_engine::DeployRequest;
use spawnpoint_model::limits::{HOST_ID_CHARS_MAX, PREFERRED_HOSTS_MAX};
use spawnpoint_model::names::check_text;
use spawnpoint_model::{HostId, Invalids};
use utoipa::ToSchema;

use super::deploy_v2::{self, DeployV2Body};
use crate::fields::{Fields, Problems};

const KEY: &str = "private_host_ids";

/// A deploy request that names hosts, as [`read`] reads it.
#[derive(ToSchema)]
#[schema(as = PrivateFleetDeploymentCreate)]
pub struct PrivateDeployBody {
    /// Hosts to try first, in this order; then the shared ones near the players.
    #[schema(min_items = 1, max_items = 64)]
    pub private_host_ids: BTreeSet<HostIdText>,
    /// The rest of the request.
    #[schema(inline = false)]
    #[serde(flatten)]
    pub deployment: DeployV2Body,
}

/// The id of a host.
#[derive(ToSchema)]
#[schema(as = PrivateHostId, value_type = String, min_length = 1, max_length = 255, format = "line", example = "chicago-1")]
pub struct HostIdText(pub String);

/// Reads a deploy request that names hosts.
///
/// # Errors
/// Every bad field.
pub fn read(object: &Map<String, Value>) -> Result<DeployRequest, Invalids> {
    let problems = Problems::new();
    let hosts = hosts(&Fields::new(object, &problems));
    match deploy_v2::read(object) {
        Ok(request) => {
            problems.into_result()?;
            Ok(DeployRequest { preferred_hosts: hosts, ..request })
        }
        Err(invalids) => {
            problems.extend(invalids);
            Err(problems.into_result().err().unwrap_or_default())
        }
    }
}

fn hosts(body: &Fields<'_>) -> Vec<HostId> {
    body.require(KEY);
    if body.is_empty_list(KEY) {
        body.note(KEY, "must not be empty");
    }
    let id = |text: &str| check_text(text, 1..=HOST_ID_CHARS_MAX).map(|()| HostId::from(text));
    let hosts = body.texts(KEY, PREFERRED_HOSTS_MAX, id).unwrap_or_default();
    let mut seen = BTreeSet::new();
    if !hosts.iter().all(|host| seen.insert(host)) {
        body.note(KEY, "must not name a host twice");
    }
    hosts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(hosts: Value) -> Result<DeployRequest, Invalids> {
        let body = json!({
            "application": "arena", "version": "v1", "private_host_ids": hosts,
            "users": [{"user_type": "ip_address", "user_data": {"ip_address": "198.51.100.7"}}],
        });
        let Value::Object(object) = body else { unreachable!("an object") };
        read(&object)
    }

    #[test]
    fn hosts_keep_their_order() {
        let request = with(json!(["b", "a", "5e1f-x"])).unwrap();
        let hosts: Vec<&str> = request.preferred_hosts.iter().map(HostId::as_str).collect();
        assert_eq!(hosts, ["b", "a", "5e1f-x"]);
        assert_eq!(request.players.len(), 1);
    }

    #[test]
    fn bad_hosts_are_named_with_everything_else_that_is_wrong() {
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        for (hosts, field) in [
            (Value::Null, "private_host_ids"),
            (json!([]), "private_host_ids"),
            (json!("a"), "private_host_ids"),
            (json!(many), "private_host_ids"),
            (json!(["a", "b", "a"]), "private_host_ids"),
            (json!(["a", 5]), "private_host_ids[1]"),
            (json!([""]), "private_host_ids[0]"),
            (json!(["a\u{0}"]), "private_host_ids[0]"),
            (json!(["x".repeat(256)]), "private_host_ids[0]"),
        ] {
            assert_eq!(with(hosts.clone()).unwrap_err().0[0].field, field, "{hosts}");
        }
        let invalids = read(&Map::new()).unwrap_err();
        let fields: Vec<&str> = invalids.0.iter().map(|invalid| invalid.field.as_str()).collect();
        assert_eq!(fields, ["private_host_ids", "application", "version", "users"]);
    }
}
