//! `POST /v1/deploy`: the older deploy call.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use spawnpoint_engine::Error;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::idempotency;
use crate::json::SmallJson;
use crate::openapi::params::IdempotencyHeader;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, deploy_v1};

/// 200 with the request as it was understood; 422 if no host can take it; 409 for an `Idempotency-Key` with another body.
///
/// # Errors
/// See above; 400 names every bad field, and nothing was created then.
#[utoipa::path(
    post,
    path = "/v1/deploy",
    operation_id = "deploy",
    tag = tag::DEPLOYMENTS,
    summary = "Deploy (older call)",
    description = "At most 40 a second with one token. Use POST /v2/deployments where you can.",
    params(IdempotencyHeader),
    request_body = deploy_v1::DeployV1Body,
    responses(
        (status = 200, description = "The deployment, and the request as it was understood", body = deploy_v1::DeployedV1Body),
        (status = 404, description = "There is no such application or version"),
        (status = 409, description = "The `Idempotency-Key` was used with another body"),
        (status = 422, description = "No host can take it; the deployment exists, in error"),
    ),
)]
pub async fn deploy(
    State(state): State<ApiState>,
    caller: Caller<op::Deploy>,
    headers: HeaderMap,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let (request, repeated) = deploy_v1::read(&body.object)?;
    let idempotency = idempotency::read(&headers, &body.bytes)?;
    let outcome = state.engine().deploy(&caller.actor, request, idempotency).await.map_err(in_v1_words)?;
    match outcome.refused {
        Some(why) => Err(ApiError::no_capacity(None, why)),
        None => Ok(wire::ok(&deploy_v1::DeployedV1Body::of(&outcome.view, &repeated))),
    }
}

/// The engine names fields as v2 does.
pub(super) fn in_v1_words(error: Error) -> ApiError {
    match error {
        Error::Invalid(mut invalids) => {
            for invalid in &mut invalids.0 {
                match invalid.field.as_str() {
                    "application" => invalid.field = "app_name".to_owned(),
                    "version" => invalid.field = "version_name".to_owned(),
                    _ => {}
                }
            }
            invalids.into()
        }
        other => other.into(),
    }
}
