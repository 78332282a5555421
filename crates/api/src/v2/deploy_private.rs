//! `POST /v2/private-fleets/deployments`, and its former name `/v2/private-fleets:deploy`: deploys to named hosts first.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::deploy;
use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::IdempotencyHeader;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::deploy_v2::{DeployedBody, RefusedBody};
use crate::wire::private_deploy::{self, PrivateDeployBody};

/// As `POST /v2/deployments`.
///
/// # Errors
/// As there; 400 also if none of the hosts exists.
#[utoipa::path(
    post,
    path = "/v2/private-fleets/deployments",
    operation_id = "private-fleets-deployment-create",
    tag = tag::PRIVATE_FLEETS,
    summary = "Deploy to hosts of a private fleet",
    description = "The hosts are tried in the order given: the first that is ACTIVE and has room takes it, else a shared one near the players. Hosts that do not exist are passed over.",
    params(IdempotencyHeader),
    request_body = PrivateDeployBody,
    responses(
        (status = 202, description = "It is accepted", body = DeployedBody),
        (status = 409, description = "The `Idempotency-Key` was used with another body"),
        (status = 422, description = "No host can take it; the deployment exists, in error", body = RefusedBody),
    ),
)]
pub async fn deploy_private(
    State(state): State<ApiState>,
    caller: Caller<op::Deploy>,
    headers: HeaderMap,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let request = private_deploy::read(&body.object);
    deploy::carry_out(&state, &caller.actor, request, &headers, &body.bytes).await
}

/// The same under the name that it had until February 2026.
///
/// # Errors
/// The same.
#[utoipa::path(
    post,
    path = "/v2/private-fleets:deploy",
    operation_id = "private-fleets-deploy",
    tag = tag::PRIVATE_FLEETS,
    summary = "Deploy to hosts of a private fleet (former address)",
    description = "The same as `POST /v2/private-fleets/deployments`.",
    params(IdempotencyHeader),
    request_body = PrivateDeployBody,
    responses(
        (status = 202, description = "It is accepted", body = DeployedBody),
        (status = 409, description = "The `Idempotency-Key` was used with another body"),
        (status = 422, description = "No host can take it; the deployment exists, in error", body = RefusedBody),
    ),
)]
pub async fn deploy_private_formerly(
    state: State<ApiState>,
    caller: Caller<op::Deploy>,
    headers: HeaderMap,
    body: SmallJson,
) -> Result<Response, ApiError> {
    deploy_private(state, caller, headers, body).await
}
