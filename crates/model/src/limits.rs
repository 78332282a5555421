//! Every bound on what a user may give, with its unit and its reason. Nothing in Spawnpoint is unbounded.

/// Characters of an application's or a version's name. Edgegap: 1 to 64.
pub const NAME_CHARS_MAX: usize = 64;
/// Characters of a tag. Edgegap: 20, later 40; the larger is accepted.
pub const TAG_CHARS_MAX: usize = 40;
/// Tags on one deployment. Undocumented there; ours.
pub const TAGS_MAX: usize = 64;
/// Characters of an environment variable's key.
pub const ENV_KEY_CHARS_MAX: usize = 255;
/// Characters of an environment variable's value. Edgegap: 4096.
pub const ENV_VALUE_CHARS_MAX: usize = 4096;
/// Variables of a version or of a deploy request.
pub const ENV_VARS_MAX: usize = 256;
/// Bytes of one `KEY=value` string: Linux refuses to exec with one of 128 KiB (`MAX_ARG_STRLEN`).
pub const ENV_TOTAL_BYTES_MAX: usize = 128 * 1024;
/// Ports of a version.
pub const PORTS_MAX: usize = 64;
/// Largest internal port number. Edgegap: 0 to 59999.
pub const INTERNAL_PORT_MAX: u16 = 59_999;
/// Characters of a port's name.
pub const PORT_NAME_CHARS_MAX: usize = 64;
/// Players named in one deploy request.
pub const USERS_MAX: usize = 512;
/// Filters of one request, and values of one filter.
pub const FILTERS_MAX: usize = 32;
/// Values of one filter.
pub const FILTER_VALUES_MAX: usize = 256;
/// Values of one filter of a bulk stop: ids are listed one by one.
pub const BULK_STOP_VALUES_MAX: usize = 1000;
/// Characters of a webhook's address.
pub const URL_CHARS_MAX: usize = 2048;
/// Characters of a command, an argument string, a repository, an image name.
pub const TEXT_CHARS_MAX: usize = 4096;
/// Bytes of an application's image (base64 text).
pub const APP_IMAGE_BYTES_MAX: usize = 512 * 1024;
/// Least CPU units a deployment may ask for (1024 = one vCPU), and least MiB of memory. Edgegap: 100.
pub const RESOURCE_MIN: u32 = 100;
/// Most CPU units a version may ask for: 256 vCPU.
pub const CPU_UNITS_MAX: u32 = 256 * 1024;
/// Memory may be at most this many MiB per CPU unit. Edgegap: 2.
pub const MEMORY_PER_CPU_MAX: u32 = 2;
/// Seconds between SIGTERM and SIGKILL, least and most. Edgegap: 5 to 3600.
pub const GRACE_SECONDS: std::ops::RangeInclusive<u32> = 5..=3600;
/// Default of the former.
pub const GRACE_SECONDS_DEFAULT: u32 = 5;
/// Seconds an attempt may take to become ready, most.
pub const TIME_TO_DEPLOY_SECONDS_MAX: u32 = 3600;
/// Default of the former.
pub const TIME_TO_DEPLOY_SECONDS_DEFAULT: u32 = 120;
/// Minutes a deployment may run by default. Edgegap: 1440.
pub const MAX_DURATION_MINUTES_DEFAULT: i32 = 1440;
/// Minutes that session records are kept by default.
pub const SESSION_MAX_DURATION_MINUTES_DEFAULT: u32 = 60;
/// Page size, most.
pub const PAGE_LIMIT_MAX: u32 = 100;
/// Characters of an `Idempotency-Key`.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// Bytes of an attempt's log that are kept when its container is gone, and that one answer shows: the end of it.
pub const LOG_BYTES_MAX: usize = 1024 * 1024;
/// Pieces (lines, mostly) that this end may consist of.
pub const LOG_PIECES_MAX: usize = 65_536;
/// Bytes of a line of log that is given out as one; a longer one comes in parts. Docker splits there, too.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// Events of a deployment that one answer shows: the newest.
pub const EVENTS_MAX: u32 = 1000;
/// Hosts a deploy request may prefer.
pub const PREFERRED_HOSTS_MAX: usize = 64;
/// Addresses that are looked up in one call. Edgegap: 20.
pub const LOOKUP_ADDRESSES_MAX: usize = 20;
/// Deployments that one telemetry request compares. Undocumented there; ours.
pub const TELEMETRY_DEPLOYMENTS_MAX: usize = 100;
/// Telemetry requests of one token that are kept; a further one takes the place of the oldest.
pub const TELEMETRY_KEPT_MAX: u32 = 100;
/// Largest port of a beacon. Edgegap: 0 to 59999.
pub const BEACON_PORT_MAX: u16 = 59_999;
/// Characters of a host's id in a request. Ours have 63 at most; others' that are passed over may be longer.
pub const HOST_ID_CHARS_MAX: usize = 255;
/// Reports that are kept of one deployment.
pub const REPORTS_MAX: u64 = 64;
/// Characters of the reason of a report. Edgegap: 255.
pub const REPORT_REASON_CHARS_MAX: usize = 255;
/// Bytes of the metadata of a report, as JSON text.
pub const REPORT_METADATA_BYTES_MAX: usize = 8 * 1024;
/// Characters of an S3 access key id.
pub const ACCESS_KEY_CHARS_MAX: usize = 128;
/// Characters of an S3 secret.
pub const SECRET_KEY_CHARS_MAX: usize = 256;
/// Characters of an object's key. S3: 1024 bytes.
pub const OBJECT_KEY_CHARS_MAX: usize = 1024;
/// Characters of a path in a container.
pub const DESTINATION_CHARS_MAX: usize = 1024;
/// Entries of a version's access list: each is a rule that packets are held against.
pub const ACCESS_ENTRIES_MAX: usize = 256;
/// Characters of an entry's label.
pub const ACCESS_LABEL_CHARS_MAX: usize = 255;
/// Endpoint storages of an installation.
pub const STORAGES_MAX: u64 = 1000;
/// Pull profiles of one storage.
pub const PULL_PROFILES_MAX: u64 = 1000;
/// Pull profiles that one version may be linked to.
pub const PULL_LINKS_MAX: usize = 16;
/// Bytes that the pull profiles of a deployment may bring in all: they are held in memory while a container is made.
pub const PULL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Files that they may bring.
pub const PULL_FILES_MAX: usize = 1000;
/// Bytes of a log that is kept for upload; what comes after them is left out, and the log says so.
pub const UPLOADED_LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Sessions on one deployment: what its status lists.
pub const SESSIONS_PER_DEPLOYMENT_MAX: u32 = 1000;
/// Selectors of a session.
pub const SELECTORS_MAX: usize = 32;
/// Characters of the value of a selector's variable. Edgegap: 1024.
pub const SELECTOR_VALUE_CHARS_MAX: usize = 1024;
/// Sessions made or deleted by one call.
pub const SESSIONS_AT_ONCE_MAX: usize = 256;
/// Smart fleets of an installation.
pub const FLEETS_MAX: u64 = 1000;
/// Characters of a tag of an image. OCI: 128.
pub const IMAGE_TAG_CHARS_MAX: usize = 128;
/// Tags of an image that are deleted by one call.
pub const IMAGE_TAGS_AT_ONCE_MAX: usize = 100;
/// Policies of a fleet.
pub const POLICIES_MAX: u64 = 64;
/// Versions that are linked to a fleet.
pub const LINKS_MAX: u64 = 64;
/// Deployments that a policy may ask for.
pub const POLICY_DEPLOYMENTS_MAX: u32 = 10_000;
/// Points of a policy of coordinates.
pub const POLICY_POINTS_MAX: usize = 64;
