//! `GET /v1/deployment/{request_id}/custom/sessions`: lists the sessions of a deployment that have names of their users'.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::APPS_PAGE;
use crate::openapi::params::{DeploymentPath, PageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200 with a page; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/deployment/{request_id}/custom/sessions",
    operation_id = "get-custom-sessions",
    tag = tag::CUSTOM_SESSIONS,
    summary = "List the custom sessions of a deployment",
    description = "The oldest first.",
    params(DeploymentPath, PageQuery),
    responses(
        (status = 200, description = "A page", body = session::SessionListBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn list_custom_sessions(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let page = parameters.page(APPS_PAGE)?;
    let sessions = state.engine().list_custom_sessions(&caller.actor, id, page).await?;
    Ok(wire::ok(&session::SessionListBody::of(&sessions)))
}
