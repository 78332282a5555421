//! A report about a deployment: somebody saw something wrong with it. It is kept in its history.

use serde_json::{Map, Value, json};
use spawnpoint_model::limits::REPORTS_MAX;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, Invalid};
use spawnpoint_store::Tx;

use crate::stop::not_found;
use crate::{Engine, Error};

/// The kind of event that a report becomes.
pub const EVENT: &str = "reported";

/// What is reported. Its text is checked by whoever reads it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why.
    pub reason: String,
    /// Whatever else the reporter knows.
    pub metadata: Map<String, Value>,
}

impl Engine {
    /// Keeps a report about a deployment; also about one that has ended, for as long as it is known.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` for another application's; `Invalid` once it has too many.
    pub async fn report(&self, actor: &Actor, id: DeploymentId, report: Report) -> Result<(), Error> {
        self.need(actor, Scope::Deploy)?;
        let row = self.inner.rows.find(id).await?.ok_or_else(|| not_found(id))?;
        if !actor.may_see(&row.spec.app) {
            return Err(Error::Forbidden(format!(
                "this token may not report deployments of {}",
                row.spec.app
            )));
        }
        // Two at the same moment may both be the last; the bound is there so that history stays small.
        if self.inner.store.count_events(id, EVENT).await? >= REPORTS_MAX {
            let problem = format!("the deployment has {REPORTS_MAX} reports, the most that are kept");
            return Err(Invalid::new("reason", problem).into());
        }
        let detail = json!({ "reason": report.reason, "metadata": report.metadata });
        let mut tx = Tx::new();
        tx.append_event(id, self.now(), EVENT, &detail.to_string());
        self.inner.store.commit(tx).await?;
        Ok(())
    }
}
