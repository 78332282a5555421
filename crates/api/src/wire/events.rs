//! The flight recorder on the wire. The form is ours: Edgegap has nothing like it.

use serde::Serialize;
use serde_json::Value;
use spawnpoint_engine::recorder::{FlightRecord, exit_message};
use spawnpoint_model::deployment::Exit;

use crate::dates::V2Date;

/// `GET /v2/deployments/{request_id}/events`.
#[derive(Debug, Serialize)]
pub struct FlightRecordBody {
    request_id: String,
    status: String,
    exit: Option<ExitBody>,
    restarts: u32,
    peak: Option<PeakBody>,
    placement: Vec<String>,
    events: Vec<EventBody>,
}

#[derive(Debug, Serialize)]
struct ExitBody {
    code: i32,
    oom: bool,
    message: String,
}

#[derive(Debug, Serialize)]
struct PeakBody {
    cpu_percent: f64,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct EventBody {
    at: V2Date,
    kind: String,
    detail: Value,
}

impl FlightRecordBody {
    /// The record.
    #[must_use]
    pub fn of(record: FlightRecord) -> Self {
        let exit = |exit: Exit| ExitBody { code: exit.code, oom: exit.oom, message: exit_message(exit) };
        Self {
            request_id: record.deployment.id.to_string(),
            status: format!("Status.{}", record.deployment.status().as_str()),
            exit: record.exit.map(exit),
            restarts: record.deployment.state.restarts,
            peak: record
                .peaks
                .map(|peaks| PeakBody { cpu_percent: peaks.cpu_percent, memory_bytes: peaks.memory_bytes }),
            placement: record.placement,
            events: record
                .events
                .into_iter()
                .map(|event| EventBody {
                    at: V2Date(event.at),
                    kind: event.kind,
                    detail: serde_json::from_str(&event.detail).unwrap_or_default(),
                })
                .collect(),
        }
    }
}
