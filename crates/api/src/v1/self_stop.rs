//! `DELETE /v1/self/stop/{request_id}/{access_point_id}`: a container stops its own deployment, with the address and the
//! token that were injected into it.

use axum::extract::State;
use axum::response::Response;

use super::stop::{StopBody, log_choice, stopped};
use crate::auth::OwnToken;
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, LogStorageQuery, StopKeyPath};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;

/// As `DELETE /v1/stop`; 401 for a bad token, 403 for a bad number.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/self/stop/{request_id}/{access_point_id}",
    operation_id = "self-deployment-delete",
    tag = tag::DEPLOYMENTS,
    summary = "A container stops its own deployment",
    description = "With the address ARBITRIUM_DELETE_URL and the token ARBITRIUM_DELETE_TOKEN.",
    params(DeploymentPath, StopKeyPath, LogStorageQuery),
    responses(
        (status = 200, description = "It is being stopped", body = StopBody),
        (status = 202, description = "It will be stopped as soon as it is ready or in error", body = StopBody),
        (status = 404, description = "There is no such deployment"),
        (status = 410, description = "It has ended"),
        (status = 403, description = "The number in the address is wrong"),
    ),
    security(("deployment-token" = [])),
)]
pub async fn self_stop(
    State(state): State<ApiState>,
    token: OwnToken,
    Segments((id, stop_key)): Segments<(String, String)>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    if token.secret.is_none() {
        return Err(token.refused(spawnpoint_engine::Error::Unauthorized, &state));
    }
    let id = path::deployment(&id)?;
    let logs = log_choice(&parameters)?;
    let outcome = state.engine().self_stop(id, &stop_key, token.secret.as_deref(), logs).await;
    let outcome = outcome.map_err(|error| token.refused(error, &state))?;
    Ok(stopped(&outcome, state.engine().now()))
}
