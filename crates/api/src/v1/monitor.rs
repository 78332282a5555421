//! `GET /monitor`: whether the server is up. Needs no token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::state::ApiState;
use crate::wire;

#[derive(Serialize)]
struct Body<'a> {
    name: &'static str,
    version: &'static str,
    host: &'a str,
    host_url: &'a str,
    /// Empty: no machine-readable description is served yet.
    spec_url: &'static str,
    messages: [&'static str; 0],
    errors: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// 200 once requests may come; 503 while workloads are being adopted.
pub async fn monitor(State(state): State<ApiState>) -> Response {
    const STARTING: &str = "starting: running workloads are being adopted";
    let ready = state.engine().is_ready();
    let url = state.config().public_url.as_str();
    let body = Body {
        name: "Spawnpoint",
        version: env!("CARGO_PKG_VERSION"),
        host: url.split_once("://").map_or(url, |(_, host)| host),
        host_url: url,
        spec_url: "",
        messages: [],
        errors: if ready { &[] } else { &[STARTING] },
        message: (!ready).then_some(STARTING),
    };
    wire::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, wire::to_json(&body))
}
