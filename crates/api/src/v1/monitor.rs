//! `GET /monitor`: whether the server is up. Needs no token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire;

#[derive(Serialize, ToSchema)]
#[schema(as = Monitor)]
struct Body<'a> {
    #[schema(example = "Spawnpoint")]
    name: &'static str,
    #[schema(example = "0.1.0")]
    version: &'static str,
    #[schema(example = "games.example.com")]
    host: &'a str,
    #[schema(example = "https://games.example.com")]
    host_url: &'a str,
    /// Where this description is.
    #[schema(example = "https://games.example.com/swagger.json")]
    spec_url: String,
    #[schema(value_type = Vec<String>, example = json!([]))]
    messages: [&'static str; 0],
    #[schema(value_type = Vec<String>, example = json!([]))]
    errors: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "starting: running workloads are being adopted")]
    message: Option<&'static str>,
}

/// 200 once requests may come; 503 while workloads are being adopted.
#[utoipa::path(
    get,
    path = "/monitor",
    operation_id = "monitoring",
    tag = tag::MONITORING,
    summary = "Whether the server is up",
    description = "503 while running workloads are being adopted after a start, and while it ends.",
    responses(
        (status = 200, description = "It is up", body = Body),
        (status = 503, description = "It starts or ends", body = Body),
    ),
    security(()),
)]
pub async fn monitor(State(state): State<ApiState>) -> Response {
    const STARTING: &str = "starting: running workloads are being adopted";
    let ready = state.engine().is_ready();
    let url = state.config().public_url.as_str();
    let body = Body {
        name: "Spawnpoint",
        version: env!("CARGO_PKG_VERSION"),
        host: url.split_once("://").map_or(url, |(_, host)| host),
        host_url: url,
        spec_url: format!("{url}/swagger.json"),
        messages: [],
        errors: if ready { &[] } else { &[STARTING] },
        message: (!ready).then_some(STARTING),
    };
    wire::json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, wire::to_json(&body))
}
