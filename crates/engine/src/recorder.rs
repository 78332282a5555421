//! The flight recorder: what became of a deployment and why, for as long as its record is kept.

use std::sync::Arc;

use serde_json::Value;
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::limits::EVENTS_MAX;
use spawnpoint_model::token::Actor;
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::DeploymentEvent;

use crate::metrics::Peaks;
use crate::{Engine, Error};

/// The kinds of events that hold the reasons of a placement, and of a refusal.
const PLACEMENTS: [&str; 2] = ["placed", "refused"];

/// Everything that is known of a deployment's course.
#[derive(Clone, Debug)]
pub struct FlightRecord {
    /// Its row.
    pub deployment: Arc<Deployment>,
    /// How its last process ended, if it did by itself or within its grace.
    pub exit: Option<Exit>,
    /// The most that it used at a time.
    pub peaks: Option<Peaks>,
    /// Why its host, and why not the others. It names hosts of private fleets, too: whoever may read at all belongs to the
    /// one organisation whose hosts these are.
    pub placement: Vec<String>,
    /// Its history, oldest first.
    pub events: Vec<DeploymentEvent>,
}

impl Engine {
    /// The record of a deployment, live or ended.
    ///
    /// # Errors
    /// `NotFound`, also for deployments of applications that are not the actor's business.
    pub async fn flight_record(&self, actor: &Actor, id: DeploymentId) -> Result<FlightRecord, Error> {
        let deployment = self.find_visible(actor, id).await?;
        let store = &self.inner.store;
        let kept = store.kept_logs(id).await?;
        let exit = match kept.first() {
            Some(log) => log.exit,
            None => deployment.state.exit,
        };
        let placed = store.last_event(id, PLACEMENTS).await?;
        Ok(FlightRecord {
            exit,
            peaks: self.peaks_of(id).await?,
            placement: placed.map(|event| reasons(&event.detail)).unwrap_or_default(),
            events: store.events(id, EVENTS_MAX).await?,
            deployment,
        })
    }
}

fn reasons(detail: &str) -> Vec<String> {
    let detail: Value = serde_json::from_str(detail).unwrap_or_default();
    let reasons = detail["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    reasons.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// How a process ended, in a few words.
#[must_use]
pub fn exit_message(exit: Exit) -> String {
    match exit.code {
        _ if exit.oom => "OOM killed".to_owned(),
        _ if exit.disk => "killed: it wrote more to its file system than it may".to_owned(),
        0 => "ended with exit code 0".to_owned(),
        code @ 129..=192 => format!("killed by signal {}", code - 128),
        code => format!("ended with exit code {code}"),
    }
}
