//! What is done about a unit: asks [`decide`], starts one deployment, looks again.
//!
//! A deployment is made in one transaction with the unit's counter, so that of two control planes that decided by the same
//! state of things one is refused and looks again; and with the budget of its revision. The same counter guards the end of a
//! deployment that has run empty.

use std::sync::Arc;
use std::time::Duration;

use spawnpoint_model::app::{SessionKind, Version};
use spawnpoint_model::deployment::{Desired, Origin, Phase};
use spawnpoint_model::fleet::{Budget, Member, Policy, Standing, Step, decide, may_end};
use spawnpoint_model::lifecycle::empty_ends_at;
use spawnpoint_model::{Deployment, Status, Timestamp};
use spawnpoint_store::{Conflict, FleetMember, FleetUnit, StoreError, Tx};

use crate::deploy::{DeployRequest, Player, WebhookUrls};
use crate::save::Change;
use crate::{Engine, Error};

/// Pause after no host could take a deployment.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(15);
/// Deployments that are started for a unit before others have their turn.
const AT_ONCE: u32 = 32;

/// What came of a start.
enum Started {
    Yes,
    /// Something has changed: look again.
    Lost,
    /// Not before then.
    NotBefore(Timestamp),
}

impl Engine {
    /// Does what is to be done about a unit, and notes when it is to be looked at again.
    pub(super) async fn keep_unit(&self, claimed: FleetUnit) -> Result<(), StoreError> {
        let store = &self.inner.store;
        for _ in 0..AT_ONCE {
            // Read first: what is made afterwards is refused if anything was made since.
            let found = store.find_unit(&claimed.policy, &claimed.app, &claimed.version).await?;
            let Some(unit) = found else { return Ok(()) };
            let now = self.now();
            let rest = async |due_at| {
                let mut tx = Tx::new();
                tx.rest_unit(&unit, due_at);
                store.commit(tx).await
            };
            let Some((policy, version)) = self.wanted(&unit).await? else { return rest(None).await };
            let members = self.members(&unit).await?;
            match decide(&policy.spec, &members, now) {
                Step::Rest => return rest(None).await,
                Step::Wait(at) => return rest(Some(at)).await,
                Step::Create => match self.start_one(&unit, &policy, &version, now).await? {
                    Started::Yes | Started::Lost => {}
                    Started::NotBefore(at) => return rest(Some(at)).await,
                },
            }
        }
        // It stays due, and is found again.
        Ok(())
    }

    /// The policy and the version of a unit, if anything is wanted of them.
    async fn wanted(&self, unit: &FleetUnit) -> Result<Option<(Policy, Arc<Version>)>, StoreError> {
        let Some(policy) = self.inner.store.find_active_policy(&unit.policy).await? else { return Ok(None) };
        let catalog = &self.inner.catalog;
        if !catalog.app(&unit.app).await?.is_some_and(|app| app.is_active) {
            return Ok(None);
        }
        let version = catalog.version(&unit.app, Some(&unit.version)).await?;
        let fits = |version: &Arc<Version>| {
            let has_sockets =
                version.spec.session.is_some_and(|session| session.kind != SessionKind::Default);
            version.spec.is_active && has_sockets
        };
        Ok(version.filter(fits).map(|version| (policy, version)))
    }

    async fn members(&self, unit: &FleetUnit) -> Result<Vec<Member>, StoreError> {
        let rows = self.inner.store.fleet_members(&unit.policy, &unit.app, &unit.version).await?;
        // What something else has ended says nothing against starting another one.
        let is_to_blame = |member: &FleetMember| {
            let state = &member.deployment.state;
            !(state.proven && matches!(state.phase, Phase::Failed(_)))
        };
        Ok(rows.iter().filter(|member| is_to_blame(member)).map(member).collect())
    }

    async fn start_one(
        &self,
        unit: &FleetUnit,
        policy: &Policy,
        version: &Version,
        now: Timestamp,
    ) -> Result<Started, StoreError> {
        let origin = Origin { fleet: unit.fleet.clone(), policy: policy.id.clone() };
        let row = self.new_row(&request_of(unit, policy), version, Some(origin)).await.map_err(internal)?;
        let mut also = Tx::new();
        also.count_creation(unit);
        also.spend_budget(&version.revision, now);
        match self.place_new(&row, version, &also).await {
            Ok(Ok(made)) => {
                tracing::info!(deployment.id = %made.id, fleet = %unit.fleet, policy = %policy.name, "a smart fleet starts a deployment");
                Ok(Started::Yes)
            }
            Ok(Err(why)) => {
                tracing::warn!(fleet = %unit.fleet, policy = %policy.name, reason = why, "a smart fleet finds no host");
                Ok(Started::NotBefore(now.plus(NO_ROOM_PAUSE)))
            }
            Err(StoreError::Conflict(Conflict::BudgetSpent(revision))) => {
                let full_at = self.inner.store.budget_full_at(&revision).await?;
                let at = full_at.map_or(now, |full_at| Budget { full_at }.open_at());
                if at > now {
                    tracing::warn!(fleet = %unit.fleet, policy = %policy.name, app = %unit.app, version = %unit.version, "what a smart fleet starts does not come to work; it waits");
                }
                Ok(Started::NotBefore(at.max(now.plus(Duration::from_millis(1)))))
            }
            Err(StoreError::Conflict(_)) => Ok(Started::Lost),
            Err(other) => Err(other),
        }
    }

    /// Whether a row may be decided on as it is. One that a smart fleet keeps though it has run empty is saved as one that has
    /// run empty now: `None`. Else what belongs to its next change.
    pub(crate) async fn may_run_empty(
        &self,
        row: &Arc<Deployment>,
        now: Timestamp,
    ) -> Result<Option<Tx>, StoreError> {
        let mut also = Tx::new();
        let is_over = row.state.phase == Phase::Ready
            && row.state.desired == Desired::Run
            && empty_ends_at(row).is_some_and(|end| now >= end);
        let Some(origin) = row.spec.origin.as_ref().filter(|_| is_over) else { return Ok(Some(also)) };
        let store = &self.inner.store;
        let Some(unit) = store.find_unit(&origin.policy, &row.spec.app, &row.spec.version).await? else {
            return Ok(Some(also));
        };
        let Some((policy, _)) = self.wanted(&unit).await? else { return Ok(Some(also)) };
        if may_end(&policy.spec, &self.members(&unit).await?) {
            also.count_creation(&unit);
            return Ok(Some(also));
        }
        let mut next = Deployment::clone(row);
        next.generation += 1;
        next.state.empty_since = Some(now);
        match self.save(row, next, Change::default()).await {
            Ok(_) | Err(StoreError::Conflict(Conflict::Stale(_)) | StoreError::OutcomeUnknown) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

/// How a deployment of a unit stands.
fn member(member: &FleetMember) -> Member {
    let row = &member.deployment;
    let standing = match (&row.state.phase, row.status()) {
        (Phase::Failed(_), _) => Standing::Failed(row.state.ended_at.unwrap_or(row.state.phase_since)),
        (_, Status::Terminating | Status::Terminated | Status::Error) => Standing::Leaving,
        _ if row.state.desired != Desired::Run => Standing::Leaving,
        (_, Status::Ready) => Standing::Ready,
        _ => Standing::Starting,
    };
    let sockets = row.spec.sockets().unwrap_or(0);
    let used = member.free.map_or(0, |free| sockets.saturating_sub(free));
    Member { created_at: row.spec.created_at, standing, sockets, used }
}

/// The request for a deployment of a policy: no players, a place.
fn request_of(unit: &FleetUnit, policy: &Policy) -> DeployRequest {
    DeployRequest {
        app: unit.app.clone(),
        version: Some(unit.version.clone()),
        players: policy.spec.points.iter().copied().map(Player::At).collect(),
        centroid: None,
        filters: policy.spec.filters.clone(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env: Vec::new(),
        tags: Vec::new(),
        webhooks: WebhookUrls::default(),
        command: None,
        arguments: None,
        log_storage: None,
        resources: None,
    }
}

fn internal(error: Error) -> StoreError {
    match error {
        Error::Unavailable(detail) => StoreError::Unavailable(detail),
        other => StoreError::Internal(other.to_string()),
    }
}
