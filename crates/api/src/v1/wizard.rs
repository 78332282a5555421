//! `POST /v1/wizard/init-quick-start` and `GET /v1/wizard/registry-credentials`: what the Unity plugin and others ask before
//! they accept a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::state::ApiState;
use crate::wire;

/// 204 to every valid token: there is nothing to prepare. The body (`{"source": "unity"}`) says nothing that matters.
pub async fn init_quick_start(_caller: Caller<op::Read>) -> StatusCode {
    StatusCode::NO_CONTENT
}

#[derive(Serialize)]
struct Body<'a> {
    registry_url: &'a str,
    project: &'a str,
    username: &'a str,
    token: &'a str,
}

/// 200 with the registry of the config; 404 if there is none.
///
/// # Errors
/// See above.
pub async fn registry_credentials(
    State(state): State<ApiState>,
    _caller: Caller<op::Read>,
) -> Result<Response, ApiError> {
    let registry = state.config().registry.as_ref();
    let registry =
        registry.ok_or_else(|| ApiError::not_found("this installation has no registry of its own"))?;
    Ok(wire::ok(&Body {
        registry_url: &registry.registry_url,
        project: &registry.project,
        username: &registry.username,
        token: registry.token.reveal(),
    }))
}
