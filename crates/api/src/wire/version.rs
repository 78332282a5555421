//! A version as answers show it: every field, secrets masked.

use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_model::app::{RestartPolicy, SessionConfig, SessionKind, Version};
use spawnpoint_model::env::{EnvValue, EnvVar};
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::query::Paged;
use utoipa::ToSchema;

use crate::dates::V1Date;
use crate::pagination::Pagination;

/// Stands for a registry token that is stored. Sent back, it changes nothing.
pub const MASK: &str = "********";

/// A version.
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersion)]
pub struct VersionBody<'a> {
    #[schema(example = "v7")]
    name: &'a str,
    #[schema(example = true)]
    is_active: bool,
    #[schema(example = "registry.example.com")]
    docker_repository: &'a str,
    #[schema(example = "studio/arena")]
    docker_image: &'a str,
    #[schema(example = "1.4.2")]
    docker_tag: &'a str,
    #[schema(required, example = json!(null))]
    private_username: Option<&'a str>,
    /// Masked.
    #[schema(required, example = json!(null))]
    private_token: Option<&'static str>,
    /// Units; 1024 are one vCPU.
    #[schema(example = 1024)]
    req_cpu: u32,
    /// MiB.
    #[schema(example = 512)]
    req_memory: u32,
    #[schema(example = 0)]
    req_video: u32,
    /// Minutes; 0 and less: forever.
    #[schema(example = 1440)]
    max_duration: i32,
    /// Seconds an attempt may take to become ready.
    #[schema(example = 120)]
    time_to_deploy: u32,
    /// Seconds between SIGTERM and SIGKILL.
    #[schema(example = 5)]
    termination_grace_period_seconds: u32,
    #[schema(value_type = RestartPolicyName)]
    restart_policy: &'static str,
    #[schema(example = false)]
    verify_image: bool,
    #[schema(example = false)]
    force_cache: bool,
    /// The share of the hosts that holds the image now, 0 to 1.
    #[schema(minimum = 0, maximum = 1, example = 0.5)]
    caching_percent: f64,
    #[schema(example = false)]
    whitelisting_active: bool,
    #[schema(required, example = json!(null))]
    endpoint_storage: Option<&'a str>,
    #[schema(required, example = json!(null))]
    command: Option<&'a str>,
    #[schema(required, example = json!(null))]
    arguments: Option<&'a str>,
    #[schema(required, example = json!(null))]
    session_config: Option<SessionBody>,
    ports: Vec<PortBody<'a>>,
    envs: Vec<EnvBody<'a>>,
    #[serde(flatten)]
    #[schema(value_type = ExtrasBody)]
    extras: Map<String, Value>,
    create_time: V1Date,
    last_updated: V1Date,
}

/// When a container that ended by itself is started again.
#[derive(ToSchema)]
#[schema(as = RestartPolicy, rename_all = "snake_case", example = "never")]
pub enum RestartPolicyName {
    /// Whatever it ended with.
    Always,
    /// If it failed.
    OnFailure,
    /// Never.
    Never,
}

/// How sessions are counted on a deployment.
#[derive(ToSchema)]
#[schema(as = SessionKind, example = "Seat")]
pub enum SessionKindName {
    /// They take no sockets.
    Default,
    /// Each player takes a socket.
    Seat,
    /// Each session takes a socket.
    Match,
}

/// Fields without a meaning here: stored, and shown if they were given.
#[derive(ToSchema)]
#[schema(as = AppVersionExtras)]
pub struct ExtrasBody {
    /// Without effect.
    pub use_telemetry: Option<bool>,
    /// Without effect: the context variables are always injected.
    pub inject_context_env: Option<bool>,
    /// Without effect.
    pub enable_all_locations: Option<bool>,
    /// Without effect.
    pub will_deploy_in_mainland_china: Option<bool>,
    /// Without effect.
    #[schema(minimum = 0, maximum = 23, example = 8)]
    pub cache_min_hour: Option<u32>,
    /// Without effect.
    #[schema(minimum = 0, maximum = 23, example = 20)]
    pub cache_max_hour: Option<u32>,
    /// Without effect.
    #[schema(max_length = 64, format = "line", example = "plugin")]
    pub build_type: Option<String>,
    /// Without effect.
    #[schema(example = json!(null))]
    pub probe: Option<ProbeBody>,
    /// Without effect; any JSON of at most 4096 bytes.
    #[schema(example = json!(null))]
    pub dns_config: Option<Value>,
}

/// Pings, in milliseconds.
#[derive(ToSchema)]
#[schema(as = AppVersionProbe)]
pub struct ProbeBody {
    /// Good.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 60)]
    pub optimal_ping: u32,
    /// Too long.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 180)]
    pub rejected_ping: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionSession)]
struct SessionBody {
    #[schema(value_type = SessionKindName)]
    kind: &'static str,
    #[schema(example = 10)]
    sockets: u32,
    #[schema(example = false)]
    autodeploy: bool,
    /// Minutes after which an empty deployment ends.
    #[schema(required, example = 60)]
    empty_ttl: Option<u32>,
    /// Minutes that the records of sessions are kept after the end.
    #[schema(example = 60)]
    session_max_duration: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionPort)]
struct PortBody<'a> {
    #[schema(example = 7777)]
    port: u16,
    #[schema(example = "UDP")]
    protocol: &'static str,
    #[schema(example = true)]
    to_check: bool,
    #[schema(example = false)]
    tls_upgrade: bool,
    #[schema(required, example = "gameport")]
    name: Option<&'a str>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionEnv)]
struct EnvBody<'a> {
    #[schema(example = "GAME_MODE")]
    key: &'a str,
    /// `null` for a hidden one.
    #[schema(required, example = "ranked")]
    value: Option<&'a str>,
    #[schema(example = false)]
    is_hidden: bool,
    #[schema(example = false)]
    is_secret: bool,
}

impl<'a> VersionBody<'a> {
    /// Of a version, and the share of the hosts that holds its image.
    #[must_use]
    pub fn of(version: &'a Version, caching_percent: f64) -> Self {
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
            caching_percent,
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

/// `Default`, `Seat` or `Match`.
#[must_use]
pub const fn kind_name(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Default => "Default",
        SessionKind::Seat => "Seat",
        SessionKind::Match => "Match",
    }
}

impl SessionBody {
    fn of(session: &SessionConfig) -> Self {
        Self {
            kind: kind_name(session.kind),
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
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionChanged)]
pub struct VersionChangedBody<'a> {
    #[schema(example = true)]
    success: bool,
    version: VersionBody<'a>,
}

impl<'a> VersionChangedBody<'a> {
    /// Of a version, and the share of the hosts that holds its image.
    #[must_use]
    pub fn of(version: &'a Version, caching_percent: f64) -> Self {
        Self { success: true, version: VersionBody::of(version, caching_percent) }
    }
}

/// A page of versions.
#[derive(Serialize, ToSchema)]
#[schema(as = AppVersionList)]
pub struct VersionListBody<'a> {
    versions: Vec<VersionBody<'a>>,
    #[schema(example = 1)]
    total_count: u64,
    pagination: Pagination,
}

impl<'a> VersionListBody<'a> {
    /// Of a page, and of what tells the share of the hosts that holds a version's image.
    #[must_use]
    pub fn of(paged: &'a Paged<Version>, caching_percent: impl Fn(&Version) -> f64) -> Self {
        let versions = paged.items.iter().map(|v| VersionBody::of(v, caching_percent(v))).collect();
        Self { versions, total_count: paged.total, pagination: Pagination::of(paged) }
    }
}
