//! `POST /v2/deployments`: deploys.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use spawnpoint_engine::DeployRequest;
use spawnpoint_model::Invalids;
use spawnpoint_model::token::Actor;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::idempotency;
use crate::json::SmallJson;
use crate::openapi::params::IdempotencyHeader;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, deploy_v2};

/// 202 with the id, exactly; 422 with the id if no host can take it: the deployment exists, in error; 409 for an
/// `Idempotency-Key` with another body.
///
/// # Errors
/// See above; 400 names every bad field, and nothing was created then.
#[utoipa::path(
    post,
    path = "/v2/deployments",
    operation_id = "deployment-create",
    tag = tag::DEPLOYMENTS,
    summary = "Deploy",
    description = "At most 40 a second with one token. 202 means that the deployment is durable and has a host; it is announced by webhooks.",
    params(IdempotencyHeader),
    request_body = deploy_v2::DeployV2Body,
    responses(
        (status = 202, description = "It is accepted", body = deploy_v2::DeployedBody),
        (status = 409, description = "The `Idempotency-Key` was used with another body"),
        (status = 422, description = "No host can take it; the deployment exists, in error", body = deploy_v2::RefusedBody),
    ),
)]
pub async fn deploy(
    State(state): State<ApiState>,
    caller: Caller<op::Deploy>,
    headers: HeaderMap,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let request = deploy_v2::read(&body.object);
    carry_out(&state, &caller.actor, request, &headers, &body.bytes).await
}

/// Deploys what was read.
pub(super) async fn carry_out(
    state: &ApiState,
    actor: &Actor,
    request: Result<DeployRequest, Invalids>,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Response, ApiError> {
    let request = request.map_err(|invalids| ApiError::from(invalids).with_details())?;
    let idempotency = idempotency::read(headers, bytes).map_err(ApiError::with_details)?;
    let outcome = state.engine().deploy(actor, request, idempotency).await;
    let outcome = outcome.map_err(|error| ApiError::from(error).with_details())?;
    let id = outcome.view.deployment.id;
    match outcome.refused {
        Some(why) => Err(ApiError::no_capacity(Some(id), why)),
        None => Ok(wire::json(StatusCode::ACCEPTED, wire::to_json(&deploy_v2::DeployedBody::of(id)))),
    }
}
