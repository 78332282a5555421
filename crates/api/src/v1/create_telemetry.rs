//! `POST /v1/telemetry/active-deployments`: asks which of some running deployments is the best for some players.

use axum::extract::State;
use axum::response::Response;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::json::SmallJson;
use crate::openapi::tag;
use crate::state::ApiState;
use crate::wire::{
    self,
    telemetry::{TelemetryBody, TicketBody},
};

/// 200 with the key of the result, which is there at once.
///
/// # Errors
/// 400 names every mistake; 422 if none of the deployments is there.
#[utoipa::path(
    post,
    path = "/v1/telemetry/active-deployments",
    operation_id = "active-deployment-telemetry-post",
    tag = tag::TELEMETRY,
    summary = "Ask which running deployment is the best for some players",
    description = "By the estimate with which deployments are placed. The result can be fetched at once and for 15 minutes; the \
        webhook is called with it (this needs the scope `deploy`). Of the requests of a token the last 100 are kept.",
    request_body = TelemetryBody,
    responses(
        (status = 200, description = "Where the result is", body = TicketBody),
        (status = 422, description = "None of these deployments is there"),
    ),
)]
pub async fn create_telemetry(
    State(state): State<ApiState>,
    caller: Caller<op::List>,
    body: SmallJson,
) -> Result<Response, ApiError> {
    let request = wire::telemetry::read(&body.object)?;
    let ticket = state.engine().request_telemetry(&caller.actor, request, wire::telemetry::render).await?;
    Ok(wire::ok(&TicketBody::of(&ticket)))
}
