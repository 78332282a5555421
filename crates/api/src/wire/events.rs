//! The flight recorder on the wire. The form is ours: Edgegap has nothing like it.

use serde::Serialize;
use serde_json::Value;
use spawnpoint_engine::recorder::{FlightRecord, exit_message};
use spawnpoint_model::deployment::Exit;
use utoipa::ToSchema;

use super::parts::{StatusName, status_name};
use crate::dates::V2Date;

/// `GET /v2/deployments/{request_id}/events`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FlightRecord)]
pub struct FlightRecordBody {
    #[schema(format = "deployment-id")]
    request_id: String,
    #[schema(value_type = StatusName)]
    status: &'static str,
    /// How its last process ended; `null` if none has, or if it was ended by force.
    #[schema(required)]
    exit: Option<ExitBody>,
    /// How often its container was started anew.
    #[schema(example = 0)]
    restarts: u32,
    /// The most that it used at a time; `null` if that was not measured.
    #[schema(required)]
    peak: Option<PeakBody>,
    /// Why its host was chosen and others were not.
    #[schema(example = json!(["chicago-1 (chicago): chosen, 95 % free"]))]
    placement: Vec<String>,
    /// What happened, oldest first.
    events: Vec<EventBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FlightRecordExit)]
struct ExitBody {
    #[schema(example = 137)]
    code: i32,
    /// It took more memory than it was given.
    #[schema(example = true)]
    oom: bool,
    #[schema(example = "OOM killed")]
    message: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FlightRecordPeak)]
struct PeakBody {
    /// Percent of the CPU that it was given.
    #[schema(example = 61.5)]
    cpu_percent: f64,
    #[schema(example = 104_857_600)]
    memory_bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FlightRecordEvent)]
struct EventBody {
    at: V2Date,
    /// A short word.
    #[schema(example = "ready")]
    kind: String,
    /// What is worth knowing of it, by its kind.
    #[schema(value_type = Object, example = json!({"status": "READY", "attempt": 1, "host": "chicago-1"}))]
    detail: Value,
}

impl FlightRecordBody {
    /// The record.
    #[must_use]
    pub fn of(record: FlightRecord) -> Self {
        let exit = |exit: Exit| ExitBody { code: exit.code, oom: exit.oom, message: exit_message(exit) };
        Self {
            request_id: record.deployment.id.to_string(),
            status: status_name(record.deployment.status()),
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
