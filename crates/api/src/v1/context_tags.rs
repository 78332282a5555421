//! `POST /v1/context/{request_id}/{security_number}/tags` and `DELETE .../tags/{tag_name}`: a container tags its own
//! deployment.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use spawnpoint_engine::Error;

use crate::auth::OwnToken;
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::params::{DeploymentPath, NumberPath, TagPath};
use crate::openapi::tag;
use crate::path::Segments;
use crate::state::ApiState;
use crate::wire;
use crate::wire::tags::{NewTagBody, TagBody, read_name};

/// 200 with the tag; 409 if it is there; 401.
///
/// # Errors
/// See above; 400 for a bad name.
#[utoipa::path(
    post,
    path = "/v1/context/{request_id}/{security_number}/tags",
    operation_id = "context-create-deployment-tag",
    tag = tag::CONTEXT,
    summary = "A container tags its own deployment",
    description = "With the token ARBITRIUM_CONTEXT_TOKEN.",
    params(DeploymentPath, NumberPath),
    request_body = NewTagBody,
    responses(
        (status = 200, description = "The tag", body = TagBody),
        (status = 409, description = "It is there already"),
    ),
    security(("deployment-token" = [])),
)]
pub async fn add_tag(
    State(state): State<ApiState>,
    token: OwnToken,
    Segments((id, number)): Segments<(String, String)>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let tag = read_name(&body.object)?;
    let outcome = match id.parse() {
        Ok(id) => state.engine().context_add_tag(id, &number, token.secret.as_deref(), tag).await,
        Err(_) => Err(Error::Unauthorized),
    };
    let tag = outcome.map_err(|error| token.refused(error, &state))?;
    Ok(wire::ok(&TagBody::of(&tag)))
}

/// 204; 404 if it is not there; 401.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/context/{request_id}/{security_number}/tags/{tag_name}",
    operation_id = "context-delete-deployment-tag",
    tag = tag::CONTEXT,
    summary = "A container takes a tag off its own deployment",
    description = "With the token ARBITRIUM_CONTEXT_TOKEN.",
    params(DeploymentPath, NumberPath, TagPath),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "It is not there"),
    ),
    security(("deployment-token" = [])),
)]
pub async fn remove_tag(
    State(state): State<ApiState>,
    token: OwnToken,
    Segments((id, number, tag)): Segments<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let outcome = match id.parse() {
        Ok(id) => state.engine().context_remove_tag(id, &number, token.secret.as_deref(), &tag).await,
        Err(_) => Err(Error::Unauthorized),
    };
    outcome.map_err(|error| token.refused(error, &state))?;
    Ok(StatusCode::NO_CONTENT)
}
