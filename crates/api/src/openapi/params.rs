//! Parameters that several operations have.

use utoipa::{IntoParams, ToSchema};

/// `{app_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AppPath {
    /// The application's name.
    #[param(example = "arena")]
    pub app_name: String,
}

/// `{version_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct VersionPath {
    /// The version's name.
    #[param(example = "v7")]
    pub version_name: String,
}

/// `{entry_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct EntryPath {
    /// The entry's number. What is none is not found.
    #[param(example = "1807")]
    pub entry_id: String,
}

/// `{request_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct DeploymentPath {
    /// The deployment's id, as the deploy call gave it: 12 hexadecimal digits. What is none is not found.
    #[param(example = "5d1e07a9c34b")]
    pub request_id: String,
}

/// `{session_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct SessionPath {
    /// The session's id, as the call that made it gave it. What is none is not found.
    #[param(example = "5d1e07a9c34b-s")]
    pub session_id: String,
}

/// `{custom_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct CustomIdPath {
    /// The name that you give the session; unique on its deployment.
    #[param(example = "party-7")]
    pub custom_id: String,
}

/// `{fleet_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct SmartFleetPath {
    /// The fleet's name.
    #[param(example = "everywhere")]
    pub fleet_name: String,
}

/// `{policy_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PolicyPath {
    /// The policy's name.
    #[param(example = "europe")]
    pub policy_name: String,
}

/// `{tag_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct TagPath {
    /// The tag's name, percent-encoded where needed.
    #[param(example = "ranked")]
    pub tag_name: String,
}

/// `{image_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ImagePath {
    /// The image's name in the project of the configuration, with the project in front or without it; slashes as they are or
    /// percent-encoded. What is none is not found.
    #[param(example = "arena")]
    pub image_name: String,
}

/// `{tag_name}` of an image.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ImageTagPath {
    /// The tag. What is none is not found.
    #[param(example = "v7")]
    pub tag_name: String,
}

/// `{access_point_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct StopKeyPath {
    /// The number in ARBITRIUM_DELETE_URL; newer descriptions call it `stop_key`.
    #[param(example = "48213")]
    pub access_point_id: String,
}

/// `{security_number}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct NumberPath {
    /// The number in ARBITRIUM_CONTEXT_URL.
    #[param(example = "48213")]
    pub security_number: String,
}

/// `{endpoint_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct StoragePath {
    /// The endpoint storage's name.
    #[param(example = "my-storage")]
    pub endpoint_name: String,
}

/// `{pull_profile_name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct ProfilePath {
    /// The pull profile's name.
    #[param(example = "configs")]
    pub pull_profile_name: String,
}

/// `X-Fields`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct FieldsHeader {
    /// Taken and without effect: the whole body is answered.
    #[param(rename = "X-Fields", example = "endpoints{name}")]
    pub x_fields: Option<String>,
}

/// `{fleet-name}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct FleetPath {
    /// The private fleet's name in the configuration.
    #[param(rename = "fleet-name", example = "tournament")]
    pub fleet_name: String,
}

/// `{host_id}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct HostPath {
    /// The host's name.
    #[param(example = "chicago-1")]
    pub host_id: String,
}

/// `{name}` of a private fleet.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct PrivateFleetPath {
    /// The private fleet's name.
    #[param(example = "tournament")]
    pub name: String,
}

/// `query` of the list of deployments.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQueryParams {
    /// A JSON object: `{"filters": [{"field", "operator", "value"}], "order_by": [{"field", "order"}]}`. Filters are ANDed,
    /// each field may be filtered once: `status`, `request_id`, `tags`, `application`, `version`, `fleet_name`, `host_name`,
    /// `created_at`, `is_joinable_by_session`, `available_session_sockets`; sorted by `created_at` or
    /// `available_session_sockets`.
    #[param(
        max_length = 8192,
        example = r#"{"filters": [{"field": "status", "operator": "eq", "value": "ready"}]}"#
    )]
    pub query: Option<String>,
}

/// `{ip}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct AddressPath {
    /// An IPv4 or IPv6 address.
    #[param(example = "198.51.100.7", value_type = crate::wire::parts::AddressText)]
    pub ip: String,
}

/// `{retrieval_key}`.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct RetrievalPath {
    /// The key that the request was given. What is none is not found.
    #[param(example = "9c0c1c3a5f7e4d2b8a6f1e0d3c5b7a99")]
    pub retrieval_key: String,
}

/// What locations are asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LocationQuery {
    /// Only locations with room for a deployment of this application now. Without it all are listed.
    #[param(max_length = 64, format = "name-or-empty", example = "")]
    pub app: Option<String>,
    /// The version of it; without it the one that was created last.
    #[param(max_length = 64, format = "name-or-empty", example = "")]
    pub version: Option<String>,
    /// Only locations of this type. All are `standard`; of another type there is none.
    #[param(max_length = 64, format = "line", example = "standard")]
    pub r#type: Option<String>,
    /// Whether the tags are shown.
    #[param(pattern = "^(true|false|1|0)?$", example = "true")]
    pub tags: Option<String>,
}

/// `page` and `limit`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Which page, from 1.
    #[param(minimum = 1, maximum = 4_294_967_295_u64, default = 1, example = 1)]
    pub page: Option<u64>,
    /// Items a page; more than 100 is taken for 100.
    #[param(minimum = 1, maximum = 4_294_967_295_u64, example = 20)]
    pub limit: Option<u64>,
}

/// The parameters of the figures of a deployment.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MetricsParams {
    /// From when on; by default the deployment's start. Also understood as `2021-07-10 00:00:00.00` (UTC).
    #[param(format = "date-time", example = "2021-07-10T00:00:00Z")]
    pub start_time: Option<String>,
    /// Until when, after `start_time`; by default the deployment's end, or now. Also understood as `2021-07-19 00:00:00.00`
    /// (UTC).
    #[param(format = "date-time", example = "2021-07-19T00:00:00Z")]
    pub end_time: Option<String>,
    /// How long the steps are, of which each value is the mean. By default the shortest of which there are at most 240.
    #[param(pattern = "^(30s|1m|5m|10m|1h)$", example = "1h")]
    pub steps: Option<String>,
    /// `true` for the figures as they are kept: every ten seconds at first, every minute after an hour, every ten minutes
    /// after a day.
    #[param(pattern = "^(true|false|1|0)$", example = "false")]
    pub raw: Option<String>,
}

/// `container_log_storage` of the stop calls.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogStorageQuery {
    /// Where the container's log goes: `true` as configured, `false` nowhere this once, or the name of an endpoint storage.
    /// A name that is not known is taken for none and never fails a stop.
    #[param(max_length = 64, format = "line", example = "true")]
    pub container_log_storage: Option<String>,
}

/// `Idempotency-Key`, an extension of ours.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub struct IdempotencyHeader {
    /// The same key with the same body is the same deployment (an extension; printable ASCII).
    #[param(
        rename = "Idempotency-Key",
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+( +[!-~]+)*$",
        example = "order-7"
    )]
    pub idempotency_key: Option<String>,
}

/// `format` of logs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LogFormatQuery {
    /// `ndjson`: each line of the logs as a JSON object with `time`, `stream` and `log`.
    #[param(inline, example = "text")]
    pub format: Option<LogFormatName>,
}

/// The formats of logs.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum LogFormatName {
    /// As they were written.
    Text,
    /// One JSON object a line.
    Ndjson,
}

/// `follow` of logs.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FollowQuery {
    /// Server-sent events instead of text.
    #[param(example = false)]
    pub follow: Option<bool>,
}
