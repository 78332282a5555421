//! `GET /swagger.json`: the description of everything but v2. GitBook and code generators fetch it; needs no token.

use axum::body::Body;
use axum::response::Response;

use crate::openapi::{documents, tag};
use crate::wire;

/// 200 with the document.
#[utoipa::path(
    get,
    path = "/swagger.json",
    operation_id = "swagger",
    tag = tag::MONITORING,
    summary = "This description",
    description = "OpenAPI 3.1, of everything but v2.",
    responses((status = 200, description = "The document", body = Object)),
    security(()),
)]
pub async fn swagger() -> Response {
    wire::json_body(Body::from(documents().v1.clone()))
}
