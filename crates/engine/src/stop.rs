//! Stop: by a user, by the container itself.

use std::sync::Arc;

use serde_json::json;
pub use spawnpoint_model::deployment::LogChoice;
use spawnpoint_model::deployment::{Phase, StopCause};
use spawnpoint_model::lifecycle::{Decision, stop, stops_at_once};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::{Conflict, StoreError};

use crate::callback::{Purpose, number_matches, token_matches};
use crate::save::Change;
use crate::view::DeploymentView;
use crate::{Engine, Error};

/// What became of a stop.
#[derive(Clone, Debug)]
pub enum StopOutcome {
    /// Stored; carried out as soon as the deployment is READY or in ERROR.
    Deferred(DeploymentView),
    /// It is being stopped (or was already).
    Stopping(DeploymentView),
}

impl Engine {
    /// Stops a deployment; final once this returns.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` (another application's), `Gone` (terminated already).
    pub async fn stop(
        &self,
        actor: &Actor,
        id: DeploymentId,
        logs: Option<LogChoice>,
    ) -> Result<StopOutcome, Error> {
        self.need(actor, Scope::Deploy)?;
        let row = self.inner.rows.find(id).await?.ok_or_else(|| not_found(id))?;
        if !actor.may_see(&row.spec.app) {
            return Err(Error::Forbidden(format!("this token may not stop deployments of {}", row.spec.app)));
        }
        self.stop_row(row, StopCause::User, logs).await
    }

    /// A container stops its own deployment, with the number and the token that were injected into it.
    ///
    /// # Errors
    /// `Unauthorized` (bad or missing token, or an unknown id), `Forbidden` (wrong number), `Gone`.
    pub async fn self_stop(
        &self,
        id: DeploymentId,
        stop_key: &str,
        token: Option<&str>,
        logs: Option<LogChoice>,
    ) -> Result<StopOutcome, Error> {
        let vault = &self.inner.vault;
        if !token.is_some_and(|token| token_matches(vault, Purpose::SelfStop, id, token)) {
            return Err(Error::Unauthorized);
        }
        if !number_matches(vault, Purpose::SelfStop, id, stop_key) {
            return Err(Error::Forbidden("this is not the stop key of the deployment".to_owned()));
        }
        let row = self.inner.rows.find(id).await?.ok_or_else(|| not_found(id))?;
        self.stop_row(row, StopCause::SelfStop, logs).await
    }

    async fn stop_row(
        &self,
        row: Arc<Deployment>,
        cause: StopCause,
        logs: Option<LogChoice>,
    ) -> Result<StopOutcome, Error> {
        let (row, at_once) = self.record_stop(row, cause, logs).await?;
        self.wake(row.id);
        let view = self.view(row).await?;
        Ok(if at_once { StopOutcome::Stopping(view) } else { StopOutcome::Deferred(view) })
    }

    /// Stores that a deployment is to end. The row as it is then, and whether it can be carried out at once; whoever calls
    /// has it looked at.
    pub(crate) async fn record_stop(
        &self,
        mut row: Arc<Deployment>,
        cause: StopCause,
        logs: Option<LogChoice>,
    ) -> Result<(Arc<Deployment>, bool), Error> {
        loop {
            let at_once = stops_at_once(row.status());
            if matches!(row.state.phase, Phase::Terminated(_)) {
                return Err(Error::Gone(format!("Deployment {} has already been terminated", row.id)));
            }
            let decision = stop(&row, cause, self.now(), &self.inner.options.rules);
            let (next, webhooks, release) = match decision {
                Some(Decision { next: Some(mut next), webhooks, release, .. }) => {
                    next.state.log_choice.clone_from(&logs);
                    (next, webhooks, release)
                }
                _ => match chosen_late(&row, logs.as_ref()) {
                    Some(next) => (next, Vec::new(), false),
                    None => return Ok((row, at_once)),
                },
            };
            let detail = json!({ "cause": cause, "logs": logs.as_ref().map(word) });
            let event = Some(("stop_requested", detail));
            let change = Change { webhooks, release, event, ..Change::default() };
            match self.save(&row, next, change).await {
                Ok(saved) => return Ok((saved, at_once)),
                Err(StoreError::Conflict(Conflict::Stale(id))) => {
                    row = self.inner.rows.find(id).await?.ok_or_else(|| not_found(id))?;
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
}

/// The word in which a choice was asked for.
fn word(choice: &LogChoice) -> &str {
    match choice {
        LogChoice::Configured => "true",
        LogChoice::Skip => "false",
        LogChoice::Storage(name) => name,
    }
}

/// The choice of a stop that comes after another one counts if that one made none and the log is still there.
fn chosen_late(row: &Deployment, logs: Option<&LogChoice>) -> Option<Deployment> {
    let is_open = row.state.log_choice.is_none() && !matches!(row.state.phase, Phase::Failed(_));
    let choice = logs.filter(|_| is_open)?;
    let mut next = row.clone();
    next.generation += 1;
    next.state.log_choice = Some(choice.clone());
    Some(next)
}

pub(crate) fn not_found(id: DeploymentId) -> Error {
    Error::NotFound(format!("Deployment {id} does not exist"))
}
