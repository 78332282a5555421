//! `POST /v1/wizard/init-quick-start` and `GET /v1/wizard/registry-credentials`: what the Unity plugin and others ask before
//! they accept a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire;

/// 204 to every valid token: there is nothing to prepare. The body (`{"source": "unity"}`) says nothing that matters.
#[utoipa::path(
    post,
    path = "/v1/wizard/init-quick-start",
    operation_id = "wizard-init-quick-start",
    tag = tag::WIZARD,
    summary = "Prepare a quick start",
    description = "There is nothing to prepare: plugins take 204 for a good token. A body is not looked at.",
    responses((status = 204, description = "The token is good")),
)]
pub async fn init_quick_start(_caller: Caller<op::Read>) -> StatusCode {
    StatusCode::NO_CONTENT
}

#[derive(Serialize, ToSchema)]
#[schema(as = RegistryCredentials)]
struct Body<'a> {
    #[schema(example = "registry.example.com")]
    registry_url: &'a str,
    #[schema(example = "studio")]
    project: &'a str,
    #[schema(example = "robot$studio")]
    username: &'a str,
    #[schema(example = "a secret")]
    token: &'a str,
}

/// 200 with the registry of the config; 404 if there is none. Whoever may push may replace every image: so this is for
/// administrators of everything.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/wizard/registry-credentials",
    operation_id = "wizard-registry-credentials",
    tag = tag::WIZARD,
    summary = "Where images may be pushed",
    description = "The registry of the configuration. Needs a token with `admin` that is bound to no application.",
    responses(
        (status = 200, description = "The registry", body = Body),
        (status = 404, description = "This installation has no registry of its own"),
    ),
)]
pub async fn registry_credentials(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
) -> Result<Response, ApiError> {
    state.engine().need_unbound(&caller.actor)?;
    let registry = state.engine().own_registry()?;
    Ok(wire::ok(&Body {
        registry_url: &registry.host,
        project: &registry.project,
        username: &registry.username,
        token: registry.token.reveal(),
    }))
}
