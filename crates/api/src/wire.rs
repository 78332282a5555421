//! The wire: Edgegap's names and formats, which live here and nowhere else.
//!
//! Readers turn a body into the engine's types and collect every bad field; writers turn the engine's types into bodies.

pub mod access;
pub mod app;
pub mod available;
pub mod bulk_stop;
pub mod context;
pub mod deploy_v1;
pub mod deploy_v2;
pub mod events;
pub mod fleet;
pub mod fleet_hosts;
pub mod image_tags;
pub mod list_item;
pub mod locations;
pub mod logs;
pub mod lookup;
pub mod metrics;
pub mod parts;
pub mod private_deploy;
pub mod pull_profile;
pub mod report;
pub mod session;
pub mod session_body;
pub mod status;
pub mod storage;
pub mod tags;
pub mod telemetry;
pub mod version;
pub mod version_body;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

/// `{}`.
#[derive(ToSchema)]
#[schema(as = Empty, example = json!({}))]
pub struct EmptyBody {}

/// A body as JSON text.
///
/// Writing to memory cannot fail, and every key of ours is a text; so neither can this.
#[must_use]
pub fn to_json(body: &impl Serialize) -> String {
    // A status has about 1 KiB: one allocation instead of five.
    let mut out = Vec::with_capacity(1024);
    if let Err(error) = serde_json::to_writer(&mut out, body) {
        tracing::error!(error.cause = %error, "a body could not be written");
    }
    String::from_utf8(out).unwrap_or_default()
}

/// An answer with a JSON body.
#[must_use]
pub fn json(status: StatusCode, body: String) -> Response {
    let mut response = json_body(Body::from(body));
    *response.status_mut() = status;
    response
}

/// 200 with a body that is JSON already.
#[must_use]
pub fn json_body(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204.
#[must_use]
pub fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// 200 with a JSON body.
#[must_use]
pub fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, to_json(body))
}
