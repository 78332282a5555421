//! `DELETE /v1/app/{app_name}`: removes an application and its versions. Its deployments go on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::AppPath;
use crate::openapi::tag;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, EmptyBody};

/// 200 with an empty object (clients look at the content type before all else); 404.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/app/{app_name}",
    operation_id = "application-delete",
    tag = tag::APPLICATIONS,
    summary = "Delete an application",
    description = "Its versions go with it; its deployments go on.",
    params(AppPath),
    responses(
        (status = 200, description = "It is gone", body = EmptyBody),
        (status = 404, description = "There is no such application"),
    ),
)]
pub async fn delete_app(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    Segments(name): Segments<String>,
) -> Result<Response, ApiError> {
    state.engine().delete_app(&caller.actor, &path::app(&name)?).await?;
    Ok(wire::json(StatusCode::OK, "{}".to_owned()))
}
