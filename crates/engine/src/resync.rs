//! Compares what each host runs with what the rows say, in full, every so often and whenever hints may have been lost.
//! Finds workloads that ended or vanished unseen (their rows are woken), adopts newer attempts that an older database
//! does not know, and notes strays for the sweep.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use spawnpoint_driver::{DriverError, Observed, Running};
use spawnpoint_model::deployment::Phase;
use spawnpoint_model::lifecycle::adopt;
use spawnpoint_model::{Deployment, DeploymentId, HostId, Timestamp, WorkloadId};
use spawnpoint_store::StoreError;

use crate::hosts::HostRuntime;
use crate::save::Change;
use crate::{Engine, Error};

/// Workloads that no row can mean, and since when they are there or known.
#[derive(Default)]
pub(crate) struct Strays {
    seen: Mutex<HashMap<(HostId, WorkloadId), Timestamp>>,
    /// Workloads of deployments that the store does not know at all. Nobody removes these by himself: the store may be
    /// an old one that was restored.
    unknown: Mutex<HashMap<HostId, HashSet<WorkloadId>>>,
}

impl Engine {
    /// Lists one host in full and acts on every difference.
    pub(crate) async fn resync_host(&self, runtime: &Arc<HostRuntime>) -> Result<(), Error> {
        self.probe_host(runtime).await;
        let listed = match runtime.driver().list().await {
            Ok(listed) => listed,
            Err(error) => {
                self.host_is_silent(runtime, &error).await?;
                return Ok(());
            }
        };
        let rows: HashMap<DeploymentId, Arc<Deployment>> =
            self.inner.rows.on_host(runtime.id()).await?.into_iter().map(|row| (row.id, row)).collect();
        let mut present: HashMap<DeploymentId, &Observed> = HashMap::new();
        let mut strays = HashMap::new();
        for observed in &listed {
            let id = observed.id;
            match rows.get(&id.deployment) {
                Some(row) if row.workload() == id && row.state.phase.may_have_workload() => {
                    present.insert(id.deployment, observed);
                }
                Some(row) if self.adopt_newer(row, id).await? => self.wake(id.deployment),
                _ => {
                    strays.insert(id, observed.started_at);
                }
            }
        }
        self.put_access(runtime, rows.values()).await?;
        for row in rows.values().filter(|row| differs(row, present.get(&row.id).copied())) {
            self.wake_in_turn(row.id);
        }
        self.sync_front(runtime, rows.values()).await;
        self.note_strays(runtime.id(), strays).await?;
        Ok(())
    }

    /// Asks the host how it is, and notes the answer for placement.
    pub(crate) async fn probe_host(&self, runtime: &Arc<HostRuntime>) {
        match runtime.driver().probe().await {
            Ok(probe) => {
                if !self.inner.fleet.is_healthy(runtime.id()) {
                    tracing::info!(host.id = %runtime.id(), "host is well");
                    self.inner.image_cache.bell.notify_one();
                }
                self.inner.fleet.set_health(runtime.id(), Some(probe));
            }
            Err(error) => {
                if self.inner.fleet.is_healthy(runtime.id()) {
                    tracing::warn!(host.id = %runtime.id(), error = %error, "host does not answer");
                }
                self.inner.fleet.set_health(runtime.id(), None);
            }
        }
    }

    /// Every ready row of a silent host is woken, so that the time of its silence is counted.
    async fn host_is_silent(
        &self,
        runtime: &Arc<HostRuntime>,
        error: &DriverError,
    ) -> Result<(), StoreError> {
        tracing::debug!(host.id = %runtime.id(), error = %error, "host could not be listed");
        for row in self.inner.rows.on_host(runtime.id()).await? {
            if row.state.phase == Phase::Ready && row.state.unreachable_since.is_none() {
                self.wake_in_turn(row.id);
            }
        }
        Ok(())
    }

    async fn adopt_newer(&self, row: &Deployment, id: WorkloadId) -> Result<bool, StoreError> {
        let Some(next) = adopt(row, id.attempt, self.now()) else { return Ok(false) };
        tracing::warn!(deployment.id = %row.id, attempt = id.attempt, "adopting a newer attempt than the database knows");
        match self.save(row, next, Change::default()).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict(_)) => Ok(true),
            Err(other) => Err(other),
        }
    }

    /// Keeps the strays of a host with the time since when each has been there; those of unknown deployments apart. One that
    /// runs says since when itself, so that a control plane that never lives for the whole grace sweeps as well.
    async fn note_strays(
        &self,
        host: &HostId,
        listed: HashMap<WorkloadId, Option<Timestamp>>,
    ) -> Result<(), StoreError> {
        let mut unknown = HashSet::new();
        for id in listed.keys() {
            if self.inner.rows.find(id.deployment).await?.is_none() {
                unknown.insert(*id);
            }
        }
        let now = self.now();
        let strays = &self.inner.strays;
        let mut seen = strays.seen.lock();
        seen.retain(|(stray_host, id), _| {
            stray_host != host || (listed.contains_key(id) && !unknown.contains(id))
        });
        for (id, started_at) in listed.into_iter().filter(|(id, _)| !unknown.contains(id)) {
            seen.entry((host.clone(), id)).or_insert(started_at.map_or(now, |started| started.min(now)));
        }
        let mut all = strays.unknown.lock();
        if all.get(host).is_none_or(|before| *before != unknown) && !unknown.is_empty() {
            tracing::warn!(host.id = %host, workloads = unknown.len(), "workloads of deployments that the database does not know; left alone");
        }
        all.insert(host.clone(), unknown);
        Ok(())
    }

    /// Removes strays that were strays for the whole grace: late effects of starts that were given up.
    pub(crate) async fn sweep(&self, runtime: &HostRuntime) {
        let now = self.now();
        let grace = self.inner.options.stray_grace;
        let host = runtime.id();
        let due: Vec<WorkloadId> = {
            let seen = self.inner.strays.seen.lock();
            let due = seen.iter().filter(|((on, _), since)| on == host && now.since(**since) >= grace);
            due.map(|((_, id), _)| *id).collect()
        };
        for id in due {
            // Looked at once more: the row may have come to mean it.
            let meant = match self.inner.rows.find(id.deployment).await {
                Ok(Some(row)) => row.workload() == id && row.state.phase.may_have_workload(),
                Ok(None) | Err(_) => true,
            };
            if meant {
                continue;
            }
            match runtime.driver().remove(id).await {
                Ok(()) => {
                    tracing::warn!(host.id = %host, workload.id = %id, "removed a workload that no deployment means");
                    self.inner.strays.seen.lock().remove(&(host.clone(), id));
                }
                Err(error) => {
                    tracing::warn!(host.id = %host, workload.id = %id, error = %error, "a stray could not be removed")
                }
            }
        }
    }
}

/// Whether a row has to be looked at, given what its host lists for it.
fn differs(row: &Deployment, listed: Option<&Observed>) -> bool {
    match (&row.state.phase, listed.map(|observed| &observed.state)) {
        (Phase::Ready, Some(Running::Running)) => row.state.unreachable_since.is_some(),
        (Phase::Ready | Phase::Starting | Phase::Stopping(_) | Phase::Placed, _) => true,
        (Phase::Pending | Phase::Failed(_) | Phase::Terminated(_), _) => false,
    }
}
