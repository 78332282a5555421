//! Every bound on a request as such; bounds on values stand in [`spawnpoint_model::limits`].

use std::time::Duration;

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the body of a call that changes an application or a version: they carry pictures.
pub const LARGE_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Time for a body to arrive.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the headers of a request to arrive; also how long a connection may idle between requests.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's line and headers: the longest query of a list with every byte percent-encoded, and as much again
/// for the rest as such a query has before it is encoded.
pub const HEADER_BYTES_MAX: usize = 4 * LIST_QUERY_BYTES_MAX;
/// Headers of a request.
pub const HEADERS_MAX: usize = 100;
/// Connections at one time.
pub const CONNECTIONS_MAX: usize = 1024;
/// Connections at one time from one address, unless it is loopback or a trusted proxy.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 64;
/// Bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 512;
/// Characters of the name of a log storage.
pub const STORAGE_NAME_CHARS_MAX: usize = 64;
/// Bytes of the `query` parameter of a list, decoded.
pub const LIST_QUERY_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an answer that shows a log, as a whole.
pub const LOG_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Logs that are followed at one time.
pub const FOLLOWERS_MAX: usize = 128;
/// Logs that one token follows at one time.
pub const FOLLOWERS_PER_TOKEN_MAX: usize = 16;
/// Between two signs of life to who follows a log in which nothing happens.
pub const FOLLOW_HEARTBEAT: Duration = Duration::from_secs(15);
/// Bytes from which on lines that are there already go out in another piece.
pub const FOLLOW_BATCH_MAX: usize = 32 * 1024;
/// Time for which a client may take nothing of what it is sent, before its connection is closed.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(20);
/// Items a page where the client does not say: deployments.
pub const DEPLOYMENTS_PAGE: u32 = 20;
/// Items a page where the client does not say: applications and versions. Unity reads the first page alone.
pub const APPS_PAGE: u32 = 100;
/// Items a page where the client does not say: locations. Older clients know of no pages.
pub const LOCATIONS_PAGE: u32 = 100;
/// Items a page where the client does not say: tags. Older clients know of no pages, and there are at most 64.
pub const TAGS_PAGE: u32 = 100;
/// Items a page where the client does not say: tags of images. Older clients know of no pages.
pub const IMAGE_TAGS_PAGE: u32 = 100;
/// Items a page where the client does not say: endpoint storages and pull profiles.
pub const STORAGES_PAGE: u32 = 10;
/// Items a page where the client does not say: hosts. Older clients of private fleets know of no pages.
pub const HOSTS_PAGE: u32 = 100;
/// Items a page where the client does not say: fleets and policies. Edgegap: 10.
pub const FLEETS_PAGE: u32 = 10;
