//! The container profile: everything a workload's container is made with. A pure function, and the only place that
//! says what a game server may do.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use spawnpoint_driver::{Security, WorkloadSpec};

use crate::names;

/// What is left of the engine's default capabilities: a root inside a container may care for its own files, users,
/// processes and ports. Gone from the default: `NET_RAW` (spoofing), `MKNOD`, `AUDIT_WRITE`, `SETFCAP`, `SYS_CHROOT`.
pub const BASELINE_CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];

/// Who runs in the restricted profile: "nonroot" of the distroless images.
const RESTRICTED_USER: &str = "65532:65532";
/// The writable place of the restricted profile.
const RESTRICTED_TMP: &str = "rw,nosuid,nodev,size=64m,mode=1777";
/// Bounded logs: at most this much, this often.
const LOG_MAX_SIZE: &str = "10m";
const LOG_MAX_FILES: &str = "3";

/// What the profile needs to know of the engine.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings {
    /// Files a workload may have open. At most the engine's own hard limit, or nothing starts.
    pub open_files: i64,
}

/// The container of a workload.
#[must_use]
pub fn container(spec: &WorkloadSpec, around: Surroundings) -> ContainerCreateBody {
    let restricted = spec.security == Security::Restricted;
    let port_name = |internal: u16, transport: &str| format!("{internal}/{transport}");
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &spec.ports {
        let key = port_name(port.internal, port.transport.as_str());
        let binding =
            PortBinding { host_ip: Some("0.0.0.0".to_owned()), host_port: Some(port.external.to_string()) };
        bindings.entry(key).or_default().get_or_insert_default().push(binding);
    }
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: spec.command.clone(),
        cmd: spec.arguments.clone(),
        env: Some(spec.env.iter().map(|(key, value)| format!("{key}={}", value.reveal())).collect()),
        labels: Some(names::labels(spec)),
        exposed_ports: Some(bindings.keys().cloned().collect()),
        user: restricted.then(|| RESTRICTED_USER.to_owned()),
        host_config: Some(host_config(spec, restricted, bindings, around)),
        ..Default::default()
    }
}

fn host_config(
    spec: &WorkloadSpec,
    restricted: bool,
    bindings: HashMap<String, Option<Vec<PortBinding>>>,
    around: Surroundings,
) -> HostConfig {
    let memory = spec.resources.memory.bytes();
    let kept: &[&str] = if restricted { &[] } else { &BASELINE_CAPABILITIES };
    let tmp = || HashMap::from([("/tmp".to_owned(), RESTRICTED_TMP.to_owned())]);
    HostConfig {
        memory: Some(memory),
        // Equal to the memory: no swap, so a greedy workload is ended instead of slowing the host down.
        memory_swap: Some(memory),
        nano_cpus: Some(spec.resources.cpu.nano_cpus()),
        pids_limit: Some(spec.pids_max.into()),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(around.open_files),
            hard: Some(around.open_files),
        }]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(kept.iter().map(|name| (*name).to_owned()).collect()),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        privileged: Some(false),
        readonly_rootfs: Some(restricted),
        tmpfs: restricted.then(tmp),
        init: Some(false),
        ipc_mode: Some("private".to_owned()),
        network_mode: Some(names::network(&spec.installation)),
        port_bindings: Some(bindings),
        publish_all_ports: Some(false),
        auto_remove: Some(false),
        // A restart is a new attempt, and the engine's alone to decide.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // `local` keeps bytes as they are; `json-file` replaces what is not UTF-8.
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_MAX_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_MAX_FILES.to_owned()),
                ("compress".to_owned(), "false".to_owned()),
            ])),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spawnpoint_driver::PortPublish;
    use spawnpoint_model::units::Resources;
    use spawnpoint_model::{CpuUnits, MemoryMib, Plaintext, Transport};

    fn spec(security: Security) -> WorkloadSpec {
        WorkloadSpec {
            id: "00000000002a-1".parse().unwrap(),
            installation: "aabbccddeeff".into(),
            host: "local".into(),
            image: "game:1".to_owned(),
            command: None,
            arguments: None,
            env: vec![("A".to_owned(), Plaintext::new("b=c"))],
            ports: vec![
                PortPublish { internal: 7777, external: 31000, transport: Transport::Udp },
                PortPublish { internal: 7777, external: 31000, transport: Transport::Tcp },
            ],
            resources: Resources { cpu: CpuUnits(512), memory: MemoryMib(256) },
            pids_max: 300,
            security,
            files: Vec::new(),
            access: None,
            lifetime: None,
        }
    }

    fn made(security: Security) -> (ContainerCreateBody, HostConfig) {
        let body = container(&spec(security), Surroundings { open_files: 4096 });
        let host = body.host_config.clone().unwrap();
        (body, host)
    }

    #[test]
    fn every_limit_is_set_in_both_profiles() {
        for security in [Security::Baseline, Security::Restricted] {
            let (body, host) = made(security);
            assert_eq!(host.memory, Some(256 * 1024 * 1024));
            assert_eq!(host.memory_swap, host.memory);
            assert_eq!(host.nano_cpus, Some(500_000_000));
            assert_eq!(host.pids_limit, Some(300));
            assert_eq!(host.security_opt.unwrap(), ["no-new-privileges:true"]);
            assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
            assert_eq!(host.privileged, Some(false));
            assert_eq!(host.network_mode.unwrap(), "spawnpoint-aabbccdd");
            assert!(host.binds.is_none() && host.mounts.is_none() && host.devices.is_none());
            assert_eq!(body.env.unwrap(), ["A=b=c"]);
            assert_eq!(body.labels.unwrap().len(), 5);
        }
    }

    #[test]
    fn the_restricted_profile_has_no_capability_no_root_and_nothing_to_write_to_but_tmp() {
        let (body, host) = made(Security::Restricted);
        assert_eq!(host.cap_add.unwrap().len(), 0);
        assert_eq!(host.readonly_rootfs, Some(true));
        assert_eq!(host.tmpfs.unwrap().keys().collect::<Vec<_>>(), ["/tmp"]);
        assert_eq!(body.user.unwrap(), "65532:65532");
    }

    #[test]
    fn the_baseline_profile_keeps_nine_capabilities_and_the_images_own_user() {
        let (body, host) = made(Security::Baseline);
        assert_eq!(host.cap_add.unwrap().len(), 9);
        assert_eq!(body.user, None);
    }

    #[test]
    fn tcp_and_udp_on_one_number_are_two_bindings() {
        let (_, host) = made(Security::Baseline);
        let bindings = host.port_bindings.unwrap();
        for key in ["7777/udp", "7777/tcp"] {
            let binding = &bindings[key].as_ref().unwrap()[0];
            assert_eq!(binding.host_port.as_deref(), Some("31000"), "{key}");
        }
    }
}
