//! Links a session to a deployment, and unlinks it: the claim and the release of its sockets.

use std::ops::RangeInclusive;
use std::sync::Arc;

use spawnpoint_model::lifecycle::due_at;
use spawnpoint_model::session::{Session, SessionPhase, SessionWebhook};
use spawnpoint_model::webhook::{Subject, WebhookEvent};
use spawnpoint_model::{Deployment, DeploymentId, Desired, Phase, SessionId, Status};
use spawnpoint_store::{Conflict, SessionClaim, SessionUsage, StoreError, Tx};

use super::SessionView;
use crate::save::Change;
use crate::{Engine, Error};

/// How often a claim is tried that others' claims got in the way of.
const TRIES_MAX: u32 = 64;
const ANY: RangeInclusive<u32> = 0..=u32::MAX;

/// Where sessions are looked at: what has to hold of their number before a change, and whether the row changes with it.
struct Edge {
    sessions: RangeInclusive<u32>,
    next: Option<Deployment>,
}

impl Engine {
    /// Links `session` to a deployment that a user named.
    ///
    /// # Errors
    /// `Conflict`: it has ended, is not joinable, or has no room; or it has a session of that custom id.
    pub(super) async fn link_to(
        &self,
        session: &Session,
        mut row: Arc<Deployment>,
    ) -> Result<Session, Error> {
        for _ in 0..TRIES_MAX {
            let usage = self.usage_of(row.id).await?;
            if let Some(refusal) = refusal(&row, &usage, session.sockets()) {
                return Err(Error::Conflict(format!("Deployment {} {refusal}", row.id)));
            }
            if let Some(linked) = self.try_link(session, &row, &usage).await? {
                return Ok(linked);
            }
            let id = row.id;
            row = self.inner.rows.find(id).await?.ok_or_else(|| crate::stop::not_found(id))?;
        }
        Err(busy())
    }

    /// One try to link a session that is not stored yet. `None`: the deployment has changed meanwhile.
    pub(super) async fn try_link(
        &self,
        session: &Session,
        row: &Arc<Deployment>,
        usage: &SessionUsage,
    ) -> Result<Option<Session>, Error> {
        let linked = Session { deployment: Some(row.id), phase: SessionPhase::Linked, ..session.clone() };
        self.inner.with_sessions.note(row.id);
        let edge = first_one(row, usage);
        // It is told of at once, or when its deployment becomes ready: what is claimed must be what was looked at.
        let ready = row.status() == Status::Ready;
        let mut tx = Tx::new();
        let claim = SessionClaim {
            sockets: linked.sockets(),
            joins: true,
            ready: Some(ready),
            sessions: edge.sessions,
        };
        tx.claim_sockets(row.id, &claim);
        tx.insert_session(&linked);
        if ready {
            tx.append(self.announce(&linked, WebhookEvent::Linked, Some(row)).await?);
        }
        match self.commit_of_sessions(row, edge.next, tx).await {
            Ok(()) => Ok(Some(linked)),
            Err(StoreError::Conflict(Conflict::Stale(_))) => Ok(None),
            Err(StoreError::Conflict(Conflict::Exists { .. })) => Err(Error::Conflict(format!(
                "Deployment {} has a session with this custom id already",
                row.id
            ))),
            Err(StoreError::OutcomeUnknown) => match self.inner.store.find_session(linked.id).await? {
                Some(stored) => Ok(Some(stored.session)),
                None => Err(StoreError::OutcomeUnknown.into()),
            },
            Err(other) => Err(other.into()),
        }
    }

    /// Ends a session for a user: its sockets are free, its deployment goes on. `None`: it had ended.
    pub(super) async fn unlink(&self, id: SessionId) -> Result<Option<Session>, Error> {
        for _ in 0..TRIES_MAX {
            let Some(found) = self.inner.store.find_session(id).await? else { return Ok(None) };
            let session = found.session;
            if session.ended_at.is_some() {
                return Ok(None);
            }
            let ended = session.ended(SessionPhase::Deleted, self.now());
            let mut tx = Tx::new();
            let outdated = Conflict::Outdated { what: "session", key: id.to_string() };
            let result = match (session.is_linked(), session.deployment) {
                (true, Some(deployment)) => {
                    let row = self.inner.rows.find(deployment).await?;
                    let row = row.ok_or_else(|| crate::stop::not_found(deployment))?;
                    let usage = self.usage_of(deployment).await?;
                    let edge = self.last_one(&row, &usage);
                    tx.release_sockets(deployment, session.sockets(), true, &edge.sessions);
                    tx.save_session(&ended, outdated);
                    self.commit_of_sessions(&row, edge.next, tx).await
                }
                _ => {
                    tx.save_session(&ended, outdated);
                    self.inner.store.commit(tx).await
                }
            };
            match result {
                Ok(()) => return Ok(Some(ended)),
                Err(StoreError::Conflict(Conflict::Stale(_) | Conflict::Outdated { .. })) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Err(busy())
    }

    /// Changes who is in a session, and whom it tells; sockets are claimed or given back with it.
    ///
    /// # Errors
    /// `Unprocessable`: there is no room for more; or it sits on no deployment.
    pub(super) async fn change_session(
        &self,
        id: SessionId,
        change: impl Fn(&mut Session) -> Result<(), Error>,
    ) -> Result<Session, Error> {
        for _ in 0..TRIES_MAX {
            let found = self.inner.store.find_session(id).await?.ok_or_else(|| super::no_session(id))?;
            let before = found.session;
            let Some(deployment) = before.deployment.filter(|_| before.is_linked()) else {
                return Err(Error::Unprocessable(format!("Session {id} is on no deployment")));
            };
            let mut next = before.changed(|_| {});
            change(&mut next)?;
            let mut tx = Tx::new();
            let (was, is) = (before.sockets(), next.sockets());
            if is >= was {
                let claim = SessionClaim { sockets: is - was, joins: false, ready: None, sessions: ANY };
                tx.claim_sockets(deployment, &claim);
            } else {
                tx.release_sockets(deployment, was - is, false, &ANY);
            }
            tx.save_session(&next, Conflict::Outdated { what: "session", key: id.to_string() });
            let row = self.inner.rows.find(deployment).await?;
            let row = row.ok_or_else(|| crate::stop::not_found(deployment))?;
            match self.commit_of_sessions(&row, None, tx).await {
                Ok(()) => return Ok(next),
                Err(StoreError::Conflict(Conflict::Stale(_) | Conflict::Outdated { .. })) => {}
                Err(other) => return Err(other.into()),
            }
            let usage = self.usage_of(deployment).await?;
            if usage.free.is_some_and(|free| free < is.saturating_sub(was)) {
                let (free, more) = (usage.free.unwrap_or(0), is.saturating_sub(was));
                let problem = format!("Deployment {deployment} has {free} free sockets, not {more}");
                return Err(Error::Unprocessable(problem));
            }
        }
        Err(busy())
    }

    /// Commits what happens to a session, with the row's own change if it is the first to come or the last to leave. The
    /// fleet that made the deployment looks at it.
    async fn commit_of_sessions(
        &self,
        row: &Arc<Deployment>,
        next: Option<Deployment>,
        mut tx: Tx,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        if let Some(origin) = &row.spec.origin {
            tx.wake_unit(&origin.policy, &row.spec.app, &row.spec.version, self.now());
        }
        match next {
            None => inner.store.commit(tx).await?,
            Some(next) => {
                let saved = self.save(row, next, Change { also: tx, ..Change::default() }).await?;
                // A timer that ended during the save was put aside by it.
                if due_at(&saved, &inner.options.rules).is_some_and(|due| due <= self.now()) {
                    self.wake(row.id);
                }
            }
        }
        inner.sender.bell.notify_one();
        if row.spec.origin.is_some() {
            inner.units.notify_one();
        }
        Ok(())
    }

    /// What the last session that leaves changes of the row.
    fn last_one(&self, row: &Deployment, usage: &SessionUsage) -> Edge {
        if !counts_emptiness(row) {
            return Edge { sessions: ANY, next: None };
        }
        if usage.sessions > 1 || matches!(row.state.phase, Phase::Terminated(_)) {
            return Edge { sessions: 2..=u32::MAX, next: None };
        }
        let mut next = row.clone();
        next.generation += 1;
        next.state.empty_since = Some(self.now());
        Edge { sessions: 1..=1, next: Some(next) }
    }

    /// What the sessions on a deployment take.
    pub(super) async fn usage_of(&self, id: DeploymentId) -> Result<SessionUsage, Error> {
        let usage = self.inner.store.session_usage(&[id]).await?;
        usage.into_iter().next().ok_or_else(|| crate::stop::not_found(id))
    }

    /// The outbox row that tells of a session, if anybody wants to know. `row`: its deployment, as it stands with this change.
    pub(super) async fn announce(
        &self,
        session: &Session,
        event: WebhookEvent,
        row: Option<&Arc<Deployment>>,
    ) -> Result<Tx, Error> {
        let mut tx = Tx::new();
        let Some(SessionWebhook { url, .. }) = &session.webhook else { return Ok(tx) };
        let deployment = match row {
            Some(row) => {
                let mut on_it = self.sessions_of(row).await?;
                on_it.retain(|other| other.id != session.id);
                on_it.extend(session.is_linked().then(|| session.clone()));
                Some(self.view_with(row.clone(), on_it).await?)
            }
            None => None,
        };
        let view = SessionView { session: session.clone(), deployment };
        let body = (self.inner.render_session)(&view, self.now());
        let subject = Subject::Session(session.id);
        tx.enqueue_webhook(&self.new_delivery(subject, session.generation, event, url.clone(), body));
        Ok(tx)
    }
}

/// Whether it matters when a deployment has no session.
fn counts_emptiness(row: &Deployment) -> bool {
    row.spec.sockets().is_some()
        && row.spec.session.is_some_and(|session| session.empty_ttl_minutes.is_some())
}

/// What the first session that comes changes of the row.
fn first_one(row: &Deployment, usage: &SessionUsage) -> Edge {
    if !counts_emptiness(row) {
        return Edge { sessions: ANY, next: None };
    }
    if usage.sessions > 0 {
        return Edge { sessions: 1..=u32::MAX, next: None };
    }
    let mut next = row.clone();
    next.generation += 1;
    next.state.empty_since = None;
    Edge { sessions: 0..=0, next: Some(next) }
}

/// Why a deployment does not take a session.
fn refusal(row: &Deployment, usage: &SessionUsage, sockets: u32) -> Option<String> {
    if row.state.desired != Desired::Run || matches!(row.status(), Status::Terminating | Status::Terminated) {
        return Some("is being stopped, or has ended".to_owned());
    }
    if row.failure().is_some() {
        return Some("is in error".to_owned());
    }
    if !row.state.joinable {
        return Some("takes no sessions: is_joinable_by_session is false".to_owned());
    }
    match usage.free {
        Some(free) if free < sockets => Some(format!("has {free} free sockets, and {sockets} are needed")),
        _ if usage.sessions >= spawnpoint_model::limits::SESSIONS_PER_DEPLOYMENT_MAX => {
            Some("has as many sessions as are possible".to_owned())
        }
        _ => None,
    }
}

fn busy() -> Error {
    Error::Unavailable("too many sessions come and go at once, please try again".to_owned())
}
