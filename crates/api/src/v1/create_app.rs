//! `POST /v1/app`: makes an application.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::LargeJson;
use crate::state::ApiState;
use crate::wire::{self, app};

/// 200 with the application; 409 if the name is taken.
///
/// # Errors
/// See above; 400 names every bad field.
pub async fn create_app(
    State(state): State<ApiState>,
    caller: Caller<op::Administer>,
    body: LargeJson,
) -> Result<Response, ApiError> {
    let new = app::read_new(&body.object)?;
    let app = state.engine().create_app(&caller.actor, new).await?;
    Ok(wire::ok(&app::AppBody::of(&app)))
}
