//! Saving a changed row: the row itself, its history, what it gives back and whom to tell, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use spawnpoint_model::deployment::{After, FailureKind, Phase};
use spawnpoint_model::lifecycle::due_at;
use spawnpoint_model::webhook::{Subject, WebhookEvent};
use spawnpoint_model::{Deployment, Sealed, Timestamp};
use spawnpoint_store::{Delivery, DeliveryState, StoreError, Tx};

use crate::{Engine, Error};

/// A port that somebody else holds stays unused for this long.
const BUSY_PORT_QUARANTINE: Duration = Duration::from_secs(600);

/// A row to be saved, and what comes with it.
#[derive(Default)]
pub(crate) struct Change {
    /// Webhooks that are due.
    pub(crate) webhooks: Vec<WebhookEvent>,
    /// Ports and capacity are given back.
    pub(crate) release: bool,
    /// An event beside the change of phase: kind and detail.
    pub(crate) event: Option<(&'static str, serde_json::Value)>,
    /// What else belongs to the change.
    pub(crate) also: Tx,
}

impl Engine {
    /// Saves `next` in place of `before`. Afterwards memory, timers and the webhook sender know of it.
    pub(crate) async fn save(
        &self,
        before: &Deployment,
        next: Deployment,
        change: Change,
    ) -> Result<Arc<Deployment>, StoreError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let next = Arc::new(next);
        let due = due_at(&next, &inner.options.rules);
        let free_at = now.plus(self.quarantine_of(before));
        let mut tx = Tx::new();
        tx.save_step(before, &next, due);
        append_history(&mut tx, before, &next, &change, now);
        if let (true, Some(host)) = (change.release, &before.state.host) {
            tx.release_ports(next.id, free_at);
            tx.unreserve(host, &next.spec.resources);
        }
        for delivery in self.deliveries(&next, &change.webhooks, now).await? {
            tx.enqueue_webhook(&delivery);
        }
        tx.append(self.changes_of_sessions(before, &next, now).await?);
        tx.append(changes_of_fleets(before, &next, now));
        tx.append(change.also);
        inner.store.commit(tx).await?;
        inner.rows.put(&next);
        // What is due already is the business of whoever saves; a timer would only call a second time.
        inner.timers.set(next.id, due.filter(|at| *at > now));
        if let (true, Some(host)) = (change.release, &before.state.host) {
            inner.fleet.release(host, next.spec.resources, &before.state.ports, free_at);
        }
        // Sessions on it may have webhooks of their own.
        if !change.webhooks.is_empty() || before.state.phase != next.state.phase {
            inner.sender.bell.notify_one();
        }
        if next.spec.origin.is_some() {
            inner.units.notify_one();
        }
        Ok(next)
    }

    fn quarantine_of(&self, before: &Deployment) -> Duration {
        match &before.state.phase {
            Phase::Stopping(After::Replace(f) | After::Fail(f)) if f.kind == FailureKind::PortTaken => {
                BUSY_PORT_QUARANTINE
            }
            _ => self.inner.options.port_quarantine,
        }
    }

    /// The outbox rows for `events`: their bodies are the status at this transition.
    pub(crate) async fn deliveries(
        &self,
        row: &Arc<Deployment>,
        events: &[WebhookEvent],
        now: Timestamp,
    ) -> Result<Vec<Delivery>, StoreError> {
        let wanted: Vec<_> =
            events.iter().filter_map(|e| Some((*e, row.spec.webhooks.get(*e)?.clone()))).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view(row.clone()).await.map_err(|e| match e {
            Error::Unavailable(detail) => StoreError::Unavailable(detail),
            other => StoreError::Internal(other.to_string()),
        })?;
        let body = (self.inner.render_status)(&view, now);
        let delivery = |(event, url)| {
            // Generations grow with each change, and no change announces two events.
            self.new_delivery(row.id.into(), row.generation, event, url, body.clone())
        };
        Ok(wanted.into_iter().map(delivery).collect())
    }

    /// An outbox row.
    pub(crate) fn new_delivery(
        &self,
        subject: Subject,
        seq: i64,
        event: WebhookEvent,
        url: Sealed,
        body: String,
    ) -> Delivery {
        let mut random = [0_u8; 12];
        self.inner.entropy.fill(&mut random);
        let now = self.now();
        Delivery {
            id: random.iter().fold("msg_".to_owned(), |id, byte| format!("{id}{byte:02x}")),
            subject,
            seq,
            event,
            url,
            body,
            state: DeliveryState::Pending,
            attempts: 0,
            next_at: now,
            last_error: None,
            created_at: now,
            delivered_at: None,
        }
    }
}

/// The history of a change: one event for the phase, one for what came with it.
fn append_history(tx: &mut Tx, before: &Deployment, next: &Deployment, change: &Change, now: Timestamp) {
    if let Some((kind, detail)) = &change.event {
        tx.append_event(next.id, now, kind, &detail.to_string());
    }
    if before.state.phase != next.state.phase {
        tx.append_event(next.id, now, next.state.phase.word(), &phase_detail(next).to_string());
    }
}

/// What a change of a fleet's deployment means for the fleet: it is looked at again, and gets a start back for a deployment
/// that has worked.
fn changes_of_fleets(before: &Deployment, next: &Deployment, now: Timestamp) -> Tx {
    let mut tx = Tx::new();
    let Some(origin) = &next.spec.origin else { return tx };
    let (was, is) = (&before.state, &next.state);
    if is.proven && !was.proven {
        tx.refund_budget(&next.spec.revision);
    }
    if is.phase.word() != was.phase.word() || is.desired != was.desired || is.proven != was.proven {
        tx.wake_unit(&origin.policy, &next.spec.app, &next.spec.version, now);
    }
    tx
}

/// What is worth keeping of a phase.
pub(crate) fn phase_detail(row: &Deployment) -> serde_json::Value {
    let state = &row.state;
    let mut detail = json!({ "status": row.status().as_str(), "attempt": state.attempt });
    let mut note = |key: &str, value: serde_json::Value| {
        if let Some(fields) = detail.as_object_mut() {
            fields.insert(key.to_owned(), value);
        }
    };
    if let Some(host) = &state.host {
        note("host", json!(host.as_str()));
    }
    if let Some(exit) = state.exit {
        note("exit", json!({ "code": exit.code, "oom": exit.oom }));
        if exit.disk {
            note("disk", json!("it wrote more to its file system than it may"));
        }
    }
    match &state.phase {
        Phase::Stopping(after) => note("then", json!(after)),
        Phase::Failed(failure) => note("failure", json!(failure)),
        Phase::Terminated(cause) => note("cause", json!(cause)),
        Phase::Pending | Phase::Placed | Phase::Starting | Phase::Ready => {}
    }
    detail
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown => {
                tracing::warn!(error = %error, "the store did not answer as it should");
                Self::Unavailable("the database is not available, please try again".to_owned())
            }
            StoreError::Conflict(conflict) => Self::Conflict(conflict.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}
