//! What a change of a deployment means for the sessions on it: they are told when it becomes ready, and they end with it.
//!
//! It is one transaction with the change, guarded by the counter of the sessions' own changes: one that is linked meanwhile
//! makes the change try again, and is seen then.

use std::sync::Arc;

use spawnpoint_model::session::{Session, SessionPhase};
use spawnpoint_model::webhook::WebhookEvent;
use spawnpoint_model::{Deployment, Phase, Timestamp};
use spawnpoint_store::{Conflict, StoreError, Tx};

use crate::{Engine, Error};

/// What happens to the deployment.
enum Turn {
    Ready,
    Failed(String),
    Ended,
}

impl Turn {
    fn of(before: &Deployment, next: &Deployment) -> Option<Self> {
        let ended = |row: &Deployment| matches!(row.state.phase, Phase::Terminated(_));
        if let (None, Some(failure)) = (before.failure(), next.failure()) {
            return Some(Self::Failed(failure.detail.clone()));
        }
        if ended(next) && !ended(before) && before.failure().is_none() {
            return Some(Self::Ended);
        }
        (next.state.ready_at.is_some() && before.state.ready_at.is_none()).then_some(Self::Ready)
    }
}

impl Engine {
    /// What belongs to the change from `before` to `next`.
    pub(crate) async fn changes_of_sessions(
        &self,
        before: &Deployment,
        next: &Arc<Deployment>,
        now: Timestamp,
    ) -> Result<Tx, StoreError> {
        let mut tx = Tx::new();
        let Some(turn) = Turn::of(before, next).filter(|_| self.may_have_sessions(before)) else {
            return Ok(tx);
        };
        let store = &self.inner.store;
        let Some(usage) = store.session_usage(&[next.id]).await?.into_iter().next() else { return Ok(tx) };
        tx.guard_sessions(next.id, usage.seq);
        let sessions = if usage.sessions == 0 { Vec::new() } else { store.sessions_on(&[next.id]).await? };
        for session in &sessions {
            tx.append(self.follow(session, &turn, next, now).await?);
        }
        if !matches!(turn, Turn::Ready) {
            tx.close_sockets(next.id);
        }
        Ok(tx)
    }

    async fn follow(
        &self,
        session: &Session,
        turn: &Turn,
        row: &Arc<Deployment>,
        now: Timestamp,
    ) -> Result<Tx, StoreError> {
        let (next, event) = match turn {
            Turn::Ready => (session.clone(), Some(WebhookEvent::Linked)),
            Turn::Failed(detail) => {
                (session.ended(SessionPhase::Failed(detail.clone()), now), Some(WebhookEvent::Error))
            }
            Turn::Ended => (session.ended(SessionPhase::Closed, now), None),
        };
        let mut tx = Tx::new();
        if next.generation != session.generation {
            tx.save_session(&next, Conflict::Stale(row.id));
        }
        if let Some(event) = event {
            let told = self.announce(&next, event, Some(row)).await;
            tx.append(told.map_err(|error| match error {
                Error::Unavailable(detail) => StoreError::Unavailable(detail),
                other => StoreError::Internal(other.to_string()),
            })?);
        }
        Ok(tx)
    }
}
