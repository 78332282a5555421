//! What users change of a live deployment besides ending it: its tags, whether sessions may join.

use std::sync::Arc;

use spawnpoint_model::deployment::{Phase, State};
use spawnpoint_model::lifecycle::due_at;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::{Conflict, StoreError};

use crate::save::Change;
use crate::stop::not_found;
use crate::{Engine, Error};

impl Engine {
    /// The row of a deployment that `actor` may see, ended ones too as long as they are kept.
    pub(crate) async fn row_for(
        &self,
        actor: &Actor,
        scope: Scope,
        id: DeploymentId,
    ) -> Result<Arc<Deployment>, Error> {
        self.need(actor, scope)?;
        let row = self.inner.rows.find(id).await?.filter(|row| actor.may_see(&row.spec.app));
        row.ok_or_else(|| not_found(id))
    }

    /// Changes the state of a deployment that has not ended, again if it was changed meanwhile. Each new try means that
    /// somebody else's change was stored, so all of them come to an end. What changes nothing is not stored.
    pub(crate) async fn change_state<T>(
        &self,
        id: DeploymentId,
        change: impl Fn(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        loop {
            let row = self.inner.rows.find(id).await?.ok_or_else(|| not_found(id))?;
            if matches!(row.state.phase, Phase::Terminated(_)) {
                return Err(Error::NotFound(format!(
                    "Deployment {id} has ended and does not change any more"
                )));
            }
            let mut next = Deployment::clone(&row);
            let outcome = change(&mut next.state)?;
            if next.state == row.state {
                return Ok(outcome);
            }
            next.generation += 1;
            match self.save(&row, next, Change::default()).await {
                Ok(saved) => {
                    // A timer that ended during the save was put aside by it.
                    if due_at(&saved, &self.inner.options.rules).is_some_and(|due| due <= self.now()) {
                        self.wake(id);
                    }
                    return Ok(outcome);
                }
                Err(StoreError::Conflict(Conflict::Stale(_))) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }
}
