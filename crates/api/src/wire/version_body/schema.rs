//! The bodies of `POST` and `PATCH` of a version as schemas: what the reader next door accepts, for the description. Where
//! the reader is more lenient (casing, blanks around), the schema shows the plain form.

use utoipa::ToSchema;

use super::super::parts::VariableBody;
use super::super::version::{ExtrasBody, RestartPolicyName, SessionKindName};

/// A new version.
#[derive(ToSchema)]
#[schema(as = AppVersionPayload)]
pub struct NewVersionBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub name: String,
    /// The registry's host; a scheme before it is taken off.
    #[schema(
        max_length = 255,
        pattern = r"^(?!https?://[-./])(https?://)?(?![-./])(?!.*\.\.)[A-Za-z0-9._:/\[\]-]*$",
        example = "registry.example.com"
    )]
    pub docker_repository: String,
    /// The image's path in the registry.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$",
        example = "studio/arena"
    )]
    pub docker_image: String,
    /// Its tag or digest.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^([A-Za-z0-9_][A-Za-z0-9._-]*|sha256:[0-9a-f]{64})$",
        example = "1.4.2"
    )]
    pub docker_tag: String,
    /// Units of CPU; 1024 are one vCPU.
    #[schema(minimum = 100, maximum = 262_144, example = 1024)]
    pub req_cpu: u32,
    /// MiB of memory; at most twice the units of CPU.
    #[schema(minimum = 100, maximum = 524_288, example = 512)]
    pub req_memory: u32,
    /// What both bodies have.
    #[serde(flatten)]
    pub settings: VersionSettingsBody,
    /// Whether deployments take sessions.
    #[schema(example = json!(null))]
    pub session_config: Option<SessionConfigBody>,
    /// Variables, 128 KiB in all.
    #[schema(max_items = 256)]
    pub envs: Option<Vec<VariableBody>>,
}

/// A change of a version; what is absent stays as it is.
#[derive(ToSchema)]
#[schema(as = AppVersionUpdatePayload)]
pub struct VersionPatchBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, format = "name", example = "v7")]
    pub name: Option<String>,
    /// The registry's host; a scheme before it is taken off.
    #[schema(
        max_length = 255,
        pattern = r"^(?!https?://[-./])(https?://)?(?![-./])(?!.*\.\.)[A-Za-z0-9._:/\[\]-]*$",
        example = "registry.example.com"
    )]
    pub docker_repository: Option<String>,
    /// The image's path in the registry.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$",
        example = "studio/arena"
    )]
    pub docker_image: Option<String>,
    /// Its tag or digest.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^([A-Za-z0-9_][A-Za-z0-9._-]*|sha256:[0-9a-f]{64})$",
        example = "1.4.2"
    )]
    pub docker_tag: Option<String>,
    /// Units of CPU; 1024 are one vCPU.
    #[schema(minimum = 100, maximum = 262_144, example = 1024)]
    pub req_cpu: Option<u32>,
    /// MiB of memory; at most twice the units of CPU.
    #[schema(minimum = 100, maximum = 524_288, example = 512)]
    pub req_memory: Option<u32>,
    /// What both bodies have.
    #[serde(flatten)]
    pub settings: VersionSettingsBody,
    /// Whether deployments take sessions.
    #[schema(example = json!(null))]
    pub session_config: Option<SessionConfigPatchBody>,
    /// Variables, 128 KiB in all.
    #[schema(max_items = 256)]
    pub envs: Option<Vec<VariablePatchBody>>,
}

/// What can be set when a version is made, and changed later.
#[derive(ToSchema)]
#[schema(as = AppVersionSettings)]
pub struct VersionSettingsBody {
    /// Whether it can be deployed.
    #[schema(example = true)]
    pub is_active: Option<bool>,
    /// The registry's user; `null` or an empty text for none.
    #[schema(max_length = 4096, format = "line", example = "robot")]
    pub private_username: Option<String>,
    /// The registry's secret. The mask that answers show, or an empty text, leaves it as it is.
    #[schema(max_length = 4096, format = "prose", example = "********")]
    pub private_token: Option<String>,
    /// Units of GPU.
    #[schema(maximum = 2_147_483_647, example = 0)]
    pub req_video: Option<u32>,
    /// Minutes a deployment may run; 0 and less: forever.
    #[schema(minimum = -2_147_483_648_i64, maximum = 2_147_483_647, example = 1440)]
    pub max_duration: Option<i32>,
    /// Seconds an attempt may take to become ready.
    #[schema(minimum = 1, maximum = 3600, example = 120)]
    pub time_to_deploy: Option<u32>,
    /// Seconds between SIGTERM and SIGKILL.
    #[schema(minimum = 5, maximum = 3600, example = 5)]
    pub termination_grace_period_seconds: Option<u32>,
    /// When a container that ended by itself is started again.
    pub restart_policy: Option<RestartPolicyName>,
    /// Whether the image is looked for in its registry now.
    #[schema(example = false)]
    pub verify_image: Option<bool>,
    /// Whether the image is to be kept on hosts.
    #[schema(example = false)]
    pub force_cache: Option<bool>,
    /// Whether access lists count.
    #[schema(example = false)]
    pub whitelisting_active: Option<bool>,
    /// The storage to which logs go.
    #[schema(max_length = 64, format = "line", example = json!(null))]
    pub endpoint_storage: Option<String>,
    /// In place of the image's entry point.
    #[schema(max_length = 4096, format = "prose", example = json!(null))]
    pub command: Option<String>,
    /// In place of the image's arguments.
    #[schema(max_length = 4096, format = "prose", example = json!(null))]
    pub arguments: Option<String>,
    /// What it listens on.
    #[schema(max_items = 64)]
    pub ports: Option<Vec<PortSpecBody>>,
    /// Fields without a meaning here.
    #[serde(flatten)]
    pub extras: ExtrasBody,
}

/// A port.
#[derive(ToSchema)]
#[schema(as = AppVersionPortPayload)]
pub struct PortSpecBody {
    /// The number inside the container; 0 for the number that is chosen outside.
    #[schema(maximum = 59_999, example = 7777)]
    pub port: u16,
    /// What is spoken on it.
    pub protocol: ProtocolName,
    /// Whether READY waits until somebody listens.
    #[schema(default = true, example = true)]
    pub to_check: Option<bool>,
    /// Whether TLS is ended in front of it; HTTP and WS alone.
    #[schema(default = false, example = false)]
    pub tls_upgrade: Option<bool>,
    /// Its name; needed where the number is 0.
    #[schema(max_length = 64, format = "line", example = "gameport")]
    pub name: Option<String>,
}

/// What is spoken on a port.
#[derive(ToSchema)]
#[schema(as = Protocol, example = "UDP")]
pub enum ProtocolName {
    /// TCP.
    #[schema(rename = "TCP")]
    Tcp,
    /// UDP.
    #[schema(rename = "UDP")]
    Udp,
    /// Both, on one number.
    #[schema(rename = "TCP/UDP")]
    TcpUdp,
    /// HTTP.
    #[schema(rename = "HTTP")]
    Http,
    /// HTTP over TLS, ended by the game server.
    #[schema(rename = "HTTPS")]
    Https,
    /// WebSocket.
    #[schema(rename = "WS")]
    Ws,
    /// WebSocket over TLS, ended by the game server.
    #[schema(rename = "WSS")]
    Wss,
}

/// Whether deployments take sessions.
#[derive(ToSchema)]
#[schema(as = AppVersionSessionPayload)]
pub struct SessionConfigBody {
    /// What a session is.
    pub kind: SessionKindName,
    /// How many fit.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 10)]
    pub sockets: u32,
    /// Whether a session may start a deployment.
    #[schema(default = false, example = false)]
    pub autodeploy: Option<bool>,
    /// Minutes after which an empty deployment ends.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 60)]
    pub empty_ttl: Option<u32>,
    /// Minutes a session may last.
    #[schema(minimum = 60, maximum = 2_147_483_647, default = 60, example = 60)]
    pub session_max_duration: Option<u32>,
}

/// A change of how deployments take sessions; what is absent stays as it is.
#[derive(ToSchema)]
#[schema(as = AppVersionSessionPatch)]
pub struct SessionConfigPatchBody {
    /// What a session is; needed where there are no settings yet.
    pub kind: Option<SessionKindName>,
    /// How many fit; needed where there are no settings yet.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 10)]
    pub sockets: Option<u32>,
    /// Whether a session may start a deployment.
    #[schema(example = false)]
    pub autodeploy: Option<bool>,
    /// Minutes after which an empty deployment ends; `null` for never.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 60)]
    pub empty_ttl: Option<u32>,
    /// Minutes a session may last.
    #[schema(minimum = 60, maximum = 2_147_483_647, example = 60)]
    pub session_max_duration: Option<u32>,
}

/// A variable in a change: a hidden one may come without its value, and keeps the one it has.
#[derive(ToSchema)]
#[schema(as = AppVersionEnvPatch)]
pub struct VariablePatchBody {
    /// Its name.
    #[schema(min_length = 1, max_length = 255, format = "env-key", example = "GAME_MODE")]
    pub key: String,
    /// Its value.
    #[schema(max_length = 4096, format = "no-nul", example = "ranked")]
    pub value: Option<String>,
    /// Whether it is never shown again.
    #[schema(default = false, example = false)]
    pub is_hidden: Option<bool>,
    /// An older name of `is_hidden`: whoever sets either means it.
    #[schema(default = false, example = false)]
    pub is_secret: Option<bool>,
}
