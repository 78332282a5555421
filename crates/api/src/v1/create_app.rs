//! `POST /v1/app`: makes an application.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{self, app};

/// 200 with the application; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    post,
    path = "/v1/app",
    operation_id = "application-post",
    tag = tag::APPLICATIONS,
    summary = "Create an application",
    description = "Needs a token with the scope admin that is bound to no application.",
    request_body = app::NewAppBody,
    responses(
        (status = 200, description = "The application", body = app::AppBody),
        (status = 409, description = "The name is taken"),
    ),
)]
pub async fn create_app(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let new = app::read_new(&body.object)?;
    let app = state.engine().create_app(&caller.actor, new).await?;
    Ok(wire::ok(&app::AppBody::of(&app)))
}
