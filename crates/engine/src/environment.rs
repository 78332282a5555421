//! The variables that a container is given: the platform's `ARBITRIUM_…`, the version's, the deployment's.
//!
//! The platform's names and formats are fixed by the SDKs that read them inside game servers; their traps: JSON is
//! compact, the port mapping is wrapped in `ports`, each entry carries its `link`, tags are joined by commas, booleans
//! are lower-case, the context URL ends in a number without a slash after it.

use serde::Serialize;
use serde_json::json;
use spawnpoint_model::env::{EnvValue, EnvVar, RESERVED_PREFIX, port_variable};
use spawnpoint_model::limits::ENV_TOTAL_BYTES_MAX;
use spawnpoint_model::port::PortBinding;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::site::Beacon;
use spawnpoint_store::Vault;

use crate::callback::{Purpose, number, token};
use crate::view::DeploymentView;

/// Purpose under which hidden variables are sealed.
pub const SEAL_PURPOSE: &str = "env";

/// A port in `ARBITRIUM_PORTS_MAPPING`.
#[derive(Serialize)]
struct MappedPort<'a> {
    name: &'a str,
    internal: u16,
    external: u16,
    protocol: &'static str,
    tls_upgrade: bool,
    link: String,
}

/// All variables for one container, the platform's last so that nothing overrides them.
///
/// # Errors
/// A sentence, if a hidden value cannot be opened or the whole is larger than a process can be given.
pub fn build(
    view: &DeploymentView,
    callback_url: &str,
    vault: &Vault,
) -> Result<Vec<(String, Plaintext)>, String> {
    let mut all: Vec<(String, Plaintext)> = Vec::new();
    for variable in view.version.env.iter().chain(&view.deployment.spec.env) {
        let value = open(variable, vault)?;
        all.retain(|(key, _)| *key != variable.key);
        all.push((variable.key.clone(), value));
    }
    all.retain(|(key, _)| !key.starts_with(RESERVED_PREFIX));
    all.extend(
        platform(view, callback_url, vault).into_iter().map(|(key, value)| (key, Plaintext::new(value))),
    );
    let bytes: usize = all.iter().map(|(key, value)| key.len() + value.reveal().len() + 2).sum();
    if bytes > ENV_TOTAL_BYTES_MAX {
        return Err(format!(
            "its variables have {bytes} bytes together; at most {ENV_TOTAL_BYTES_MAX} are possible"
        ));
    }
    Ok(all)
}

fn open(variable: &EnvVar, vault: &Vault) -> Result<Plaintext, String> {
    match &variable.value {
        EnvValue::Plain(value) => Ok(Plaintext::new(value.clone())),
        EnvValue::Hidden(sealed) => vault
            .open(sealed, SEAL_PURPOSE)
            .map_err(|_| format!("the hidden variable {} cannot be opened", variable.key)),
    }
}

fn platform(view: &DeploymentView, callback_url: &str, vault: &Vault) -> Vec<(String, String)> {
    let row = &view.deployment;
    let id = row.id;
    let tags: Vec<&str> = row.state.tags.iter().map(|tag| tag.name.as_str()).collect();
    let self_stop = number(vault, Purpose::SelfStop, id);
    let context = number(vault, Purpose::Context, id);
    let mut all = vec![
        ("ARBITRIUM_REQUEST_ID", id.to_string()),
        ("ARBITRIUM_DELETE_URL", format!("{callback_url}/v1/self/stop/{id}/{self_stop}")),
        ("ARBITRIUM_DELETE_TOKEN", token(vault, Purpose::SelfStop, id)),
        ("ARBITRIUM_CONTEXT_URL", format!("{callback_url}/v1/context/{id}/{context}")),
        ("ARBITRIUM_CONTEXT_TOKEN", token(vault, Purpose::Context, id)),
        ("ARBITRIUM_DEPLOYMENT_TAGS", tags.join(",")),
        ("ARBITRIUM_DEPLOYMENT_VCPU_UNITS", row.spec.resources.cpu.0.to_string()),
        ("ARBITRIUM_DEPLOYMENT_MEMORY_MB", row.spec.resources.memory.0.to_string()),
        ("ARBITRIUM_PORTS_MAPPING", ports_mapping(view)),
    ];
    all.extend(beacon(view.place.as_ref().and_then(|place| place.beacon.as_ref())));
    if let Some(place) = &view.place {
        let fleet = place.private_fleet.clone();
        all.extend([
            ("ARBITRIUM_PUBLIC_IP", place.public_address.to_string()),
            ("ARBITRIUM_DEPLOYMENT_LOCATION", serde_json::to_string(&place.location).unwrap_or_default()),
            ("ARBITRIUM_HOST_ID", place.host.to_string()),
            ("ARBITRIUM_HOST_BASE_CLOCK_FREQUENCY", place.base_clock_mhz.to_string()),
            ("ARBITRIUM_HOST_IN_PRIVATE_FLEET", fleet.is_some().to_string()),
            ("ARBITRIUM_PRIVATE_FLEET_ID", fleet.unwrap_or_else(|| "PUBLIC_CLOUD".to_owned())),
        ]);
    }
    let mut all: Vec<(String, String)> =
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    for port in &row.state.ports {
        all.extend(port_variables(port));
    }
    all
}

/// What answers pings near the host; texts are empty where nothing does.
fn beacon(beacon: Option<&Beacon>) -> [(&'static str, String); 5] {
    let port = |port: Option<u16>| port.map_or_else(String::new, |port| port.to_string());
    let enabled = beacon.is_some().to_string();
    [
        ("ARBITRIUM_HOST_BEACON_ENABLED", enabled.clone()),
        ("ARBITRIUM_BEACON_ENABLED", enabled),
        ("ARBITRIUM_HOST_BEACON_PUBLIC_IP", beacon.map(|b| b.host.clone()).unwrap_or_default()),
        ("ARBITRIUM_HOST_BEACON_PORT_UDP_EXTERNAL", port(beacon.and_then(|b| b.udp_port))),
        ("ARBITRIUM_HOST_BEACON_PORT_TCP_EXTERNAL", port(beacon.and_then(|b| b.tcp_port))),
    ]
}

fn port_variables(port: &PortBinding) -> [(String, String); 3] {
    let name = port_variable(&port.name);
    [
        (format!("ARBITRIUM_PORT_{name}_INTERNAL"), port.internal.to_string()),
        (format!("ARBITRIUM_PORT_{name}_EXTERNAL"), port.external.to_string()),
        (format!("ARBITRIUM_PORT_{name}_PROTOCOL"), port.protocol.as_str().to_owned()),
    ]
}

fn ports_mapping(view: &DeploymentView) -> String {
    let ports: serde_json::Map<String, serde_json::Value> = view
        .deployment
        .state
        .ports
        .iter()
        .map(|port| {
            let mapped = MappedPort {
                name: &port.name,
                internal: port.internal,
                external: port.external,
                protocol: port.protocol.as_str(),
                tls_upgrade: port.tls_upgrade,
                link: view.link(port),
            };
            (port.name.clone(), json!(mapped))
        })
        .collect();
    json!({ "ports": ports }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_is_told_with_the_ports_that_it_has() {
        let with = Beacon { host: "203.0.113.9".into(), udp_port: Some(8090), tcp_port: None };
        let told = |found: Option<&Beacon>| beacon(found).map(|(_, value)| value);
        assert_eq!(told(Some(&with)), ["true", "true", "203.0.113.9", "8090", ""]);
        assert_eq!(told(None), ["false", "false", "", "", ""]);
    }
}
