//! `GET /v1/context/{request_id}/{security_number}`: what a container asks about its own deployment.

use axum::extract::State;
use axum::response::Response;
use spawnpoint_engine::Error;

use crate::auth::OwnToken;
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, NumberPath};
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire::{self, context::ContextBody};

/// 200 with the context; 401, whatever of id, number and token was wrong.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/context/{request_id}/{security_number}",
    operation_id = "context-get",
    tag = tag::CONTEXT,
    summary = "A container asks about its own deployment",
    description = "With the address ARBITRIUM_CONTEXT_URL and the token ARBITRIUM_CONTEXT_TOKEN.",
    params(DeploymentPath, NumberPath),
    responses((status = 200, description = "Its deployment", body = ContextBody)),
    security(("deployment-token" = [])),
)]
pub async fn context(
    State(state): State<ApiState>,
    token: OwnToken,
    Segments((id, number)): Segments<(String, String)>,
) -> Result<Response, ApiError> {
    let outcome = match id.parse() {
        Ok(id) => state.engine().context(id, &number, token.secret.as_deref()).await,
        Err(_) => Err(Error::Unauthorized),
    };
    let view = outcome.map_err(|error| token.refused(error, &state))?;
    Ok(wire::ok(&ContextBody::of(&view)))
}
