//! The installation's bridge network on an engine.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use spawnpoint_driver::DriverError;
use spawnpoint_model::InstallationId;

use crate::error::{answer, from_bollard};
use crate::names;

/// Finds or makes the network, and tells the host's own address in it.
pub async fn ensure(client: &Docker, installation: &InstallationId) -> Result<Ipv4Addr, DriverError> {
    if let Some(network) = find(client, installation).await? {
        return gateway(&network);
    }
    let made = client.create_network(request(installation)).await;
    // Somebody else may have made it just now: the engine refuses the second one, by its name or by its bridge.
    match (find(client, installation).await?, made) {
        (Some(network), _) => gateway(&network),
        (None, Err(error)) => Err(from_bollard(&error)),
        (None, Ok(_)) => Err(DriverError::Internal("the network vanished while it was made".to_owned())),
    }
}

/// Removes the network; absent is fine.
pub async fn remove(client: &Docker, installation: &InstallationId) -> Result<(), DriverError> {
    match client.remove_network(&names::network(installation)).await {
        Err(error) if !matches!(answer(&error), Some((404, _))) => Err(from_bollard(&error)),
        _ => Ok(()),
    }
}

async fn find(client: &Docker, installation: &InstallationId) -> Result<Option<NetworkInspect>, DriverError> {
    let name = names::network(installation);
    match client.inspect_network(&name, None::<InspectNetworkOptions>).await {
        Ok(network) => Ok(Some(network)),
        Err(error) if matches!(answer(&error), Some((404, _))) => Ok(None),
        Err(error) => Err(from_bollard(&error)),
    }
}

fn request(installation: &InstallationId) -> NetworkCreateRequest {
    let option = |name: &str, value: &str| (format!("com.docker.network.bridge.{name}"), value.to_owned());
    NetworkCreateRequest {
        name: names::network(installation),
        driver: Some("bridge".to_owned()),
        attachable: Some(false),
        enable_ipv6: Some(false),
        options: Some(HashMap::from([
            // A fixed name lets firewall rules speak of it.
            option("name", &names::bridge(installation)),
            option("enable_icc", "false"),
            option("enable_ip_masquerade", "true"),
        ])),
        labels: Some(HashMap::from([(names::INSTALLATION.to_owned(), installation.to_string())])),
        ..Default::default()
    }
}

fn gateway(network: &NetworkInspect) -> Result<Ipv4Addr, DriverError> {
    let mut configs = network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    configs
        .find_map(|config| config.gateway.as_ref()?.split('/').next()?.parse().ok())
        .ok_or_else(|| DriverError::Internal("the engine names no IPv4 gateway for our network".to_owned()))
}
