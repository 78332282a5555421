//! `GET /v2/openapi.json`: the description of v2; needs no token.

use axum::body::Body;
use axum::response::Response;

use crate::openapi::{documents, tag};
use crate::wire;

/// 200 with the document.
#[utoipa::path(
    get,
    path = "/v2/openapi.json",
    operation_id = "openapi",
    tag = tag::MONITORING,
    summary = "This description",
    description = "OpenAPI 3.1, of v2.",
    responses((status = 200, description = "The document", body = Object)),
    security(()),
)]
pub async fn openapi() -> Response {
    wire::json_body(Body::from(documents().v2.clone()))
}
