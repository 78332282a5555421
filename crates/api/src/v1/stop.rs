//! `DELETE /v1/stop/{request_id}`: stops a deployment. Unity repeats the call until it is answered 410.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use spawnpoint_engine::stop::{LogChoice, StopOutcome};
use spawnpoint_model::{Invalid, Timestamp};
use utoipa::ToSchema;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::limits::STORAGE_NAME_CHARS_MAX;
use crate::openapi::params::{DeploymentPath, LogStorageQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, status::StatusBody};

/// 202 before it is ready: it will be stopped then. 200 with its status while it is ready, in error or stopping; 410 once it
/// has ended; 404; 403 for a deployment of another's application.
///
/// # Errors
/// See above.
#[utoipa::path(
    delete,
    path = "/v1/stop/{request_id}",
    operation_id = "deployment-delete",
    tag = tag::DEPLOYMENTS,
    summary = "Stop a deployment",
    description = "SIGTERM, then SIGKILL after the grace period of its version. May be repeated.",
    params(DeploymentPath, LogStorageQuery),
    responses(
        (status = 200, description = "It is being stopped", body = StopBody),
        (status = 202, description = "It will be stopped as soon as it is ready or in error", body = StopBody),
        (status = 404, description = "There is no such deployment"),
        (status = 410, description = "It has ended"),
    ),
)]
pub async fn stop(
    State(state): State<ApiState>,
    caller: Caller<op::Stop>,
    Segments(id): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let logs = log_choice(&parameters)?;
    let outcome = state.engine().stop(&caller.actor, id, logs).await?;
    Ok(stopped(&outcome, state.engine().now()))
}

/// The answer to a stop.
#[derive(Serialize, ToSchema)]
#[schema(as = Stopped)]
pub(super) struct StopBody<'a> {
    #[schema(example = "Instance 5d1e07a9c34b will be deleted")]
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_summary: Option<StatusBody<'a>>,
}

/// The answer to a stop.
pub(super) fn stopped(outcome: &StopOutcome, now: Timestamp) -> Response {
    let (status, body) = match outcome {
        StopOutcome::Deferred(view) => {
            let message = format!("{} - Delete request will be processed soon", view.deployment.id);
            (StatusCode::ACCEPTED, StopBody { message, deployment_summary: None })
        }
        StopOutcome::Stopping(view) => {
            let message = format!("Instance {} will be deleted", view.deployment.id);
            (StatusCode::OK, StopBody { message, deployment_summary: Some(StatusBody::of(view, now)) })
        }
    };
    wire::json(status, wire::to_json(&body))
}

/// `container_log_storage`: `true`, `false` or the name of a storage. A name that is not known never fails a stop.
pub(super) fn log_choice(parameters: &Parameters) -> Result<Option<LogChoice>, ApiError> {
    const NAME: &str = "container_log_storage";
    let Some(text) = parameters.get(NAME) else { return Ok(None) };
    let checked = spawnpoint_model::names::check_text(text, 0..=STORAGE_NAME_CHARS_MAX);
    checked.map_err(|invalid| Invalid::new(NAME, invalid.problem))?;
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.eq_ignore_ascii_case("true") {
        return Ok(Some(LogChoice::Configured));
    }
    if text.eq_ignore_ascii_case("false") {
        return Ok(Some(LogChoice::Skip));
    }
    Ok(Some(LogChoice::Storage(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(query: &str) -> Result<Option<LogChoice>, ApiError> {
        log_choice(&Parameters::read(Some(query)))
    }

    #[test]
    fn logs_are_kept_as_configured_skipped_or_stored_by_name() {
        assert_eq!(choice("").unwrap(), None);
        assert_eq!(choice("container_log_storage=").unwrap(), None);
        assert_eq!(choice("container_log_storage=%20").unwrap(), None);
        assert_eq!(choice("container_log_storage=%0A").unwrap_err().status(), 400);
        assert_eq!(choice("container_log_storage=True").unwrap(), Some(LogChoice::Configured));
        assert_eq!(choice("container_log_storage=false").unwrap(), Some(LogChoice::Skip));
        assert_eq!(
            choice("container_log_storage=my%20s3").unwrap(),
            Some(LogChoice::Storage("my s3".into()))
        );
        assert_eq!(choice("container_log_storage=a%00b").unwrap_err().status(), 400);
        assert_eq!(choice(&format!("container_log_storage={}", "x".repeat(65))).unwrap_err().status(), 400);
    }
}
