//! `GET /v1/app/{app_name}`: shows an application. Unity takes 200 for "it exists" and anything else for "make it".

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::AppPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, app::AppBody};

/// 200 with the application; 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/app/{app_name}",
    operation_id = "application-get",
    tag = tag::APPLICATIONS,
    summary = "Show an application",
    description = "The picture is what was stored with it.",
    params(AppPath),
    responses(
        (status = 200, description = "The application", body = AppBody),
        (status = 404, description = "There is no such application"),
    ),
)]
pub async fn get_app(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    let app = state.engine().get_app(&caller.actor, &path::app(&name)?).await?;
    Ok(wire::ok(&AppBody::of(&app)))
}
