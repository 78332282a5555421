//! `PATCH /v1/deployments/{request_id}`: lets sessions join a deployment, or keeps them out.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Map, Value};
use spawnpoint_model::Invalids;
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::fields::{Fields, Problems};
use crate::json::SmallJson;
use crate::openapi::params::DeploymentPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire;

/// What may be changed of a deployment.
#[derive(ToSchema)]
#[schema(as = DeploymentUpdate)]
pub(super) struct UpdateBody {
    /// Whether sessions may join it; without it nothing changes.
    #[schema(example = true)]
    #[expect(dead_code, reason = "described here, read by its name")]
    is_joinable_by_session: Option<bool>,
}

/// How it stands then.
#[derive(Serialize, ToSchema)]
#[schema(as = DeploymentUpdated)]
pub(super) struct UpdatedBody {
    #[schema(example = true)]
    is_joinable_by_session: bool,
}

/// 200 with how it stands then; 404, also once the deployment has ended.
///
/// # Errors
/// See above; 400 for a bad field.
#[utoipa::path(
    patch,
    path = "/v1/deployments/{request_id}",
    operation_id = "deployment-update",
    tag = tag::DEPLOYMENTS,
    summary = "Let sessions join a deployment, or keep them out",
    description = "Until it has ended.",
    params(DeploymentPath),
    request_body = UpdateBody,
    responses(
        (status = 200, description = "How it stands then", body = UpdatedBody),
        (status = 404, description = "There is no such deployment, or it has ended"),
    ),
)]
pub async fn update_deployment(
    State(state): State<ApiState>,
    caller: Caller<op::Change>,
    Segments(id): Segments<String>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let joinable = read(&body.object)?;
    let is_joinable_by_session =
        state.engine().set_joinable(&caller.actor, path::deployment(&id)?, joinable).await?;
    Ok(wire::ok(&UpdatedBody { is_joinable_by_session }))
}

/// Reads a change.
pub(crate) fn read(object: &Map<String, Value>) -> Result<Option<bool>, Invalids> {
    let problems = Problems::new();
    let joinable = Fields::new(object, &problems).boolean("is_joinable_by_session");
    problems.into_result()?;
    Ok(joinable)
}
