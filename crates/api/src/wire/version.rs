//! A version as answers show it: every field, secrets masked.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_model::app::{RestartPolicy, SessionConfig, SessionKind, Version};
use spawnpoint_model::env::{EnvValue, EnvVar};
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::query::Paged;

use crate::dates::V1Date;
use crate::pagination::Pagination;

/// Stands for a registry token that is stored. Sent back, it changes nothing.
pub const MASK: &str = "********";

/// A version.
#[derive(Serialize)]
pub struct VersionBody<'a> {
    name: &'a str,
    is_active: bool,
    docker_repository: &'a str,
    docker_image: &'a str,
    docker_tag: &'a str,
    private_username: Option<&'a str>,
    private_token: Option<&'static str>,
    req_cpu: u32,
    req_memory: u32,
    req_video: u32,
    max_duration: i32,
    time_to_deploy: u32,
    termination_grace_period_seconds: u32,
    restart_policy: &'static str,
    verify_image: bool,
    force_cache: bool,
    whitelisting_active: bool,
    endpoint_storage: Option<&'a str>,
    command: Option<&'a str>,
    arguments: Option<&'a str>,
    session_config: Option<SessionBody>,
    ports: Vec<PortBody<'a>>,
    envs: Vec<EnvBody<'a>>,
    #[serde(flatten)]
    extras: Map<String, Value>,
    create_time: V1Date,
    last_updated: V1Date,
}

#[derive(Serialize)]
struct SessionBody {
    kind: &'static str,
    sockets: u32,
    autodeploy: bool,
    empty_ttl: Option<u32>,
    session_max_duration: u32,
}

#[derive(Serialize)]
struct PortBody<'a> {
    port: u16,
    protocol: &'static str,
    to_check: bool,
    tls_upgrade: bool,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct EnvBody<'a> {
    key: &'a str,
    value: Option<&'a str>,
    is_hidden: bool,
    is_secret: bool,
}

impl<'a> VersionBody<'a> {
    /// Of a version.
    #[must_use]
    pub fn of(version: &'a Version) -> Self {
        let spec = &*version.spec;
        Self {
            name: version.name.as_str(),
            is_active: spec.is_active,
            docker_repository: &spec.image.registry,
            docker_image: &spec.image.name,
            docker_tag: &spec.image.tag,
            private_username: spec.image.username.as_deref(),
            private_token: spec.image.token.as_ref().map(|_| MASK),
            req_cpu: spec.resources.cpu.0,
            req_memory: spec.resources.memory.0,
            req_video: spec.gpu_units,
            max_duration: spec.max_duration_minutes,
            time_to_deploy: spec.time_to_deploy_seconds,
            termination_grace_period_seconds: spec.grace_seconds,
            restart_policy: restart_policy_name(spec.restart_policy),
            verify_image: spec.verify_image,
            force_cache: spec.force_cache,
            whitelisting_active: spec.access_list_active,
            endpoint_storage: spec.endpoint_storage.as_deref(),
            command: spec.command.as_deref(),
            arguments: spec.arguments.as_deref(),
            session_config: spec.session.as_ref().map(SessionBody::of),
            ports: spec.ports.iter().map(PortBody::of).collect(),
            envs: spec.env.iter().map(EnvBody::of).collect(),
            extras: serde_json::from_str(&spec.extras).unwrap_or_default(),
            create_time: V1Date(version.created_at),
            last_updated: V1Date(version.updated_at),
        }
    }
}

impl SessionBody {
    fn of(session: &SessionConfig) -> Self {
        let kind = match session.kind {
            SessionKind::Default => "Default",
            SessionKind::Seat => "Seat",
            SessionKind::Match => "Match",
        };
        Self {
            kind,
            sockets: session.sockets,
            autodeploy: session.autodeploy,
            empty_ttl: session.empty_ttl_minutes,
            session_max_duration: session.session_max_duration_minutes,
        }
    }
}

impl<'a> PortBody<'a> {
    fn of(port: &'a PortSpec) -> Self {
        Self {
            port: port.port,
            protocol: port.protocol.as_str(),
            to_check: port.to_check,
            tls_upgrade: port.tls_upgrade,
            name: port.name.as_deref(),
        }
    }
}

impl<'a> EnvBody<'a> {
    fn of(variable: &'a EnvVar) -> Self {
        let (value, hidden) = match &variable.value {
            EnvValue::Plain(value) => (Some(value.as_str()), false),
            EnvValue::Hidden(_) => (None, true),
        };
        Self { key: &variable.key, value, is_hidden: hidden, is_secret: hidden }
    }
}

/// `always`, `on_failure`, `never`.
#[must_use]
pub const fn restart_policy_name(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on_failure",
        RestartPolicy::Never => "never",
    }
}

/// The answer to a new or changed version.
#[derive(Serialize)]
pub struct VersionChangedBody<'a> {
    success: bool,
    version: VersionBody<'a>,
}

impl<'a> VersionChangedBody<'a> {
    /// Of a version.
    #[must_use]
    pub fn of(version: &'a Version) -> Self {
        Self { success: true, version: VersionBody::of(version) }
    }
}

/// A page of versions.
#[derive(Serialize)]
pub struct VersionListBody<'a> {
    versions: Vec<VersionBody<'a>>,
    total_count: u64,
    pagination: Pagination,
}

impl<'a> VersionListBody<'a> {
    /// Of a page.
    #[must_use]
    pub fn of(paged: &'a Paged<Version>) -> Self {
        let versions = paged.items.iter().map(VersionBody::of).collect();
        Self { versions, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}
