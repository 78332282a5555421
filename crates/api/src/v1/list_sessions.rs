//! `GET /v1/sessions`: lists sessions that have not ended.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::DEPLOYMENTS_PAGE;
use crate::openapi::params::PageQuery;
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::state::ApiState;
use crate::wire::{self, session};

/// 200 with a page; 400 for a page that is none.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/sessions",
    operation_id = "list-sessions",
    tag = tag::SESSIONS,
    summary = "List sessions",
    description = "Those that have not ended, the newest first.",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = session::SessionListBody),
    ),
)]
pub async fn list_sessions(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let page = parameters.page(DEPLOYMENTS_PAGE)?;
    let sessions = state.engine().list_sessions(&caller.actor, page).await?;
    Ok(wire::ok(&session::SessionListBody::of(&sessions)))
}
