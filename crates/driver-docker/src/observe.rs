//! From the engine's view of a container to the contract's. Pure.

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, PortMap, PortSummary,
};
use spawnpoint_driver::{Observed, PortPublish, Running};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{HostId, Timestamp};

use crate::error::transport;
use crate::names;

/// What `list` shows. `None` if the container has ended: only `inspect` knows how.
pub fn summary(summary: &ContainerSummary, host: &HostId) -> Option<Observed> {
    let labels = summary.labels.as_ref()?;
    let state = match summary.state? {
        ContainerSummaryStateEnum::CREATED | ContainerSummaryStateEnum::EMPTY => Running::Starting,
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING => Running::Running,
        ContainerSummaryStateEnum::EXITED
        | ContainerSummaryStateEnum::REMOVING
        | ContainerSummaryStateEnum::DEAD => {
            return None;
        }
    };
    Some(Observed {
        id: names::workload(labels)?,
        host: host.clone(),
        state,
        started_at: None,
        image_digest: summary.image_id.clone(),
        spec_hash: names::spec_hash(labels),
        ports: sorted(summary.ports.iter().flatten().filter_map(published).collect()),
    })
}

fn published(port: &PortSummary) -> Option<PortPublish> {
    let kind = port.typ?.to_string();
    Some(PortPublish {
        internal: port.private_port,
        external: port.public_port?,
        transport: transport(&kind)?,
    })
}

/// What `inspect` shows.
pub fn inspected(container: &ContainerInspectResponse, host: &HostId) -> Option<Observed> {
    let labels = container.config.as_ref()?.labels.as_ref()?;
    let state = container.state.as_ref()?;
    let running = container.network_settings.as_ref().and_then(|n| n.ports.as_ref());
    // A container that has ended publishes nothing any more; what it was made with still tells.
    let made_with = container.host_config.as_ref().and_then(|h| h.port_bindings.as_ref());
    let ports = running.filter(|map| !map.is_empty()).or(made_with).map(mapped).unwrap_or_default();
    Some(Observed {
        id: names::workload(labels)?,
        host: host.clone(),
        state: running_state(state),
        started_at: state.started_at.as_deref().and_then(timestamp),
        image_digest: container.image.clone(),
        spec_hash: names::spec_hash(labels),
        ports,
    })
}

/// What a container is doing, and how it ended.
pub fn running_state(state: &ContainerState) -> Running {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY) | None => Running::Starting,
        Some(
            ContainerStateStatusEnum::RUNNING
            | ContainerStateStatusEnum::PAUSED
            | ContainerStateStatusEnum::RESTARTING
            | ContainerStateStatusEnum::STOPPING,
        ) => Running::Running,
        Some(
            ContainerStateStatusEnum::EXITED
            | ContainerStateStatusEnum::REMOVING
            | ContainerStateStatusEnum::DEAD,
        ) => {
            let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
            Running::Exited(Exit { code, oom: state.oom_killed.unwrap_or(false), disk: false })
        }
    }
}

fn mapped(map: &PortMap) -> Vec<PortPublish> {
    let mut ports = Vec::new();
    for (key, bindings) in map {
        let Some((internal, kind)) = key.split_once('/') else { continue };
        let (Ok(internal), Some(transport)) = (internal.parse(), transport(kind)) else { continue };
        for binding in bindings.iter().flatten() {
            if let Some(external) = binding.host_port.as_ref().and_then(|port| port.parse().ok()) {
                ports.push(PortPublish { internal, external, transport });
            }
        }
    }
    sorted(ports)
}

/// One entry a port: the engine lists IPv4 and IPv6 apart, and in no order.
fn sorted(mut ports: Vec<PortPublish>) -> Vec<PortPublish> {
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Reads the engine's times. It writes "never" as the year 1.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_microsecond() > 0).then(|| Timestamp(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use bollard::models::{ContainerConfig, HostConfig, PortBinding};
    use spawnpoint_model::Transport;

    fn labels() -> HashMap<String, String> {
        [(names::DEPLOYMENT, "00000000002a"), (names::ATTEMPT, "1"), (names::SPEC_HASH, "00000000000000ff")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn ended(code: i64, oom: bool) -> ContainerState {
        ContainerState {
            status: Some(ContainerStateStatusEnum::EXITED),
            exit_code: Some(code),
            oom_killed: Some(oom),
            ..Default::default()
        }
    }

    #[test]
    fn an_ended_container_tells_its_exit_code_and_whether_memory_ended_it() {
        assert_eq!(
            running_state(&ended(3, false)),
            Running::Exited(Exit { code: 3, oom: false, disk: false })
        );
        assert_eq!(
            running_state(&ended(137, true)),
            Running::Exited(Exit { code: 137, oom: true, disk: false })
        );
    }

    #[test]
    fn an_ended_container_still_tells_its_ports() {
        let binding =
            |port: &str| Some(vec![PortBinding { host_ip: None, host_port: Some(port.to_owned()) }]);
        let bindings =
            HashMap::from([("7777/udp".to_owned(), binding("31000")), ("80/sctp".to_owned(), binding("1"))]);
        let container = ContainerInspectResponse {
            config: Some(ContainerConfig { labels: Some(labels()), ..Default::default() }),
            state: Some(ended(0, false)),
            host_config: Some(HostConfig { port_bindings: Some(bindings), ..Default::default() }),
            ..Default::default()
        };
        let observed = inspected(&container, &"local".into()).unwrap();
        assert_eq!(
            observed.ports,
            [PortPublish { internal: 7777, external: 31000, transport: Transport::Udp }]
        );
        assert_eq!(observed.spec_hash.unwrap().0, 0xff);
    }

    #[test]
    fn never_is_not_a_time() {
        assert_eq!(timestamp("0001-01-01T00:00:00Z"), None);
        assert_eq!(timestamp("1970-01-01T00:00:01.5Z"), Some(Timestamp(1_500_000)));
        assert_eq!(timestamp("yesterday"), None);
    }

    #[test]
    fn a_container_without_our_labels_is_not_observed() {
        let foreign = ContainerSummary {
            labels: Some(HashMap::new()),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            ..Default::default()
        };
        assert_eq!(summary(&foreign, &"local".into()), None);
    }
}
