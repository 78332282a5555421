//! `GET /v1/deployment/{request_id}/container-logs` (*deployment* without an s): the end of a deployment's log, and of the log
//! of its last crash. Where Edgegap's logs are gone with the container, ours are kept.

use axum::extract::State;
use axum::response::Response;
use spawnpoint_model::Invalid;

use crate::auth::{Caller, op};
use crate::error::ApiError;
use crate::openapi::params::{DeploymentPath, LogFormatQuery};
use crate::openapi::tag;
use crate::pagination::Parameters;
use crate::path::{self, Segments};
use crate::state::ApiState;
use crate::wire::{self, logs::ContainerLogsBody, logs::LogFormat};

/// 200 in every state of the deployment, with an empty log before it starts; 404. `?format=ndjson` gives each line as a JSON
/// object.
///
/// # Errors
/// See above.
#[utoipa::path(
    get,
    path = "/v1/deployment/{request_id}/container-logs",
    operation_id = "deployment-get-logs",
    tag = tag::DEPLOYMENTS,
    summary = "Logs of a deployment",
    description = "The end of its log (the whole answer has at most 1 MiB), and of the log of its last crash. Kept after its end for as long as its record is.",
    params(DeploymentPath, LogFormatQuery),
    responses(
        (status = 200, description = "The logs; empty before it starts", body = ContainerLogsBody),
        (status = 404, description = "There is no such deployment"),
    ),
)]
pub async fn container_logs(
    State(state): State<ApiState>,
    caller: Caller<op::Read>,
    Segments(id): Segments<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    let id = path::deployment(&id)?;
    let format = format(&parameters)?;
    let logs = state.engine().container_logs(&caller.actor, id).await?;
    Ok(wire::ok(&ContainerLogsBody::of(logs, format)))
}

fn format(parameters: &Parameters) -> Result<LogFormat, ApiError> {
    match parameters.get("format").map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "text") => Ok(LogFormat::Text),
        Some("ndjson") => Ok(LogFormat::Ndjson),
        Some(_) => Err(Invalid::new("format", "must be text or ndjson").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_text_unless_it_is_asked_for() {
        let read = |query: &str| format(&Parameters::read(Some(query)));
        assert_eq!(read("").unwrap(), LogFormat::Text);
        assert_eq!(read("format=").unwrap(), LogFormat::Text);
        assert_eq!(read("format=TEXT").unwrap(), LogFormat::Text);
        assert_eq!(read("format=ndjson").unwrap(), LogFormat::Ndjson);
        assert_eq!(read("format=xml").unwrap_err().status(), 400);
    }
}
