//! `PATCH /v1/app/{app_name}`: changes an application, its name too.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::openapi::params::AppPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, app};

/// 200 with the application; 404; 409 if the new name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
#[utoipa::path(
    patch,
    path = "/v1/app/{app_name}",
    operation_id = "application-patch",
    tag = tag::APPLICATIONS,
    summary = "Change an application",
    description = "Absent fields stay as they are. The name can be changed as well.",
    params(AppPath),
    request_body = app::AppPatchBody,
    responses(
        (status = 200, description = "The application", body = app::AppBody),
        (status = 404, description = "There is no such application"),
        (status = 409, description = "The new name is taken"),
    ),
)]
pub async fn update_app(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let patch = app::read_patch(&body.object)?;
    let app = state.engine().update_app(&caller.actor, &path::app(&name)?, patch).await?;
    Ok(wire::ok(&app::AppBody::of(&app)))
}
