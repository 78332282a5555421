//! Rows in memory: every deployment that has not ended, and the revisions they run.
//!
//! With SQLite this process is the only one that writes, so what is kept here after each commit is exact, and reads do
//! not touch the database. With PostgreSQL other control planes write too: nothing is kept, every read asks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use spawnpoint_model::deployment::Phase;
use spawnpoint_model::query::ListQuery;
use spawnpoint_model::{Deployment, DeploymentId, HostId, RevisionId, VersionSpec};
use spawnpoint_store::dialect::Dialect;
use spawnpoint_store::{Store, StoreError};

type Shard = RwLock<HashMap<DeploymentId, Arc<Deployment>>>;
const SHARDS: usize = 16;

/// Rows, from memory where that is exact.
pub(crate) struct Rows {
    store: Store,
    live: Option<Vec<Shard>>,
    revisions: RwLock<HashMap<RevisionId, Arc<VersionSpec>>>,
}

impl Rows {
    pub(crate) fn new(store: Store) -> Self {
        let exclusive = store.dialect() == Dialect::Sqlite;
        let live = exclusive.then(|| (0..SHARDS).map(|_| Shard::default()).collect());
        Self { store, live, revisions: RwLock::default() }
    }

    /// Whether memory holds every live row.
    pub(crate) const fn is_exact(&self) -> bool {
        self.live.is_some()
    }

    fn shard(&self, id: DeploymentId) -> Option<&Shard> {
        self.live.as_ref()?.get(id.spread(SHARDS))
    }

    /// A row that was just read or committed. An older state than the one that is held is left aside.
    pub(crate) fn put(&self, row: &Arc<Deployment>) {
        let Some(shard) = self.shard(row.id) else { return };
        let mut rows = shard.write();
        let newer_is_held = rows.get(&row.id).is_some_and(|held| held.generation > row.generation);
        if newer_is_held {
            return;
        }
        if matches!(row.state.phase, Phase::Terminated(_)) {
            rows.remove(&row.id);
        } else {
            rows.insert(row.id, row.clone());
        }
    }

    /// A row, ended ones too as long as they are stored.
    pub(crate) async fn find(&self, id: DeploymentId) -> Result<Option<Arc<Deployment>>, StoreError> {
        if let Some(row) = self.find_live(id) {
            return Ok(Some(row));
        }
        Ok(self.store.find_deployment(id).await?.map(Arc::new))
    }

    /// A row that has not ended, if memory holds it.
    pub(crate) fn find_live(&self, id: DeploymentId) -> Option<Arc<Deployment>> {
        self.shard(id)?.read().get(&id).cloned()
    }

    /// Every row that has not ended.
    pub(crate) async fn live(&self) -> Result<Vec<Arc<Deployment>>, StoreError> {
        match &self.live {
            Some(shards) => Ok(shards
                .iter()
                .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
                .collect()),
            None => Ok(self.store.live_deployments().await?.into_iter().map(Arc::new).collect()),
        }
    }

    /// Every live row that satisfies `narrowed`, which may stand for less than what is wanted. Where memory is exact, these
    /// are all live rows: looking at them again is the caller's business anyway.
    pub(crate) async fn live_among(&self, narrowed: &ListQuery) -> Result<Vec<Arc<Deployment>>, StoreError> {
        match &self.live {
            Some(_) => self.live().await,
            None => Ok(self.store.all_deployments(narrowed).await?.into_iter().map(Arc::new).collect()),
        }
    }

    /// Every live row that holds `host`.
    pub(crate) async fn on_host(&self, host: &HostId) -> Result<Vec<Arc<Deployment>>, StoreError> {
        match &self.live {
            Some(shards) => {
                let mut found = Vec::new();
                for shard in shards {
                    let rows = shard.read();
                    found.extend(rows.values().filter(|row| row.state.host.as_ref() == Some(host)).cloned());
                }
                Ok(found)
            }
            None => Ok(self.store.deployments_on_host(host).await?.into_iter().map(Arc::new).collect()),
        }
    }

    /// A revision of a version. Revisions never change, so memory is always right.
    pub(crate) async fn revision(&self, id: &RevisionId) -> Result<Arc<VersionSpec>, StoreError> {
        if let Some(spec) = self.revisions.read().get(id) {
            return Ok(spec.clone());
        }
        let spec = self.store.find_revision(id).await?;
        let spec = Arc::new(spec.ok_or_else(|| StoreError::Corrupt(format!("revision {id} is missing")))?);
        self.keep_revision(id, &spec);
        Ok(spec)
    }

    /// Keeps a revision that was just stored.
    pub(crate) fn keep_revision(&self, id: &RevisionId, spec: &Arc<VersionSpec>) {
        self.revisions.write().insert(id.clone(), spec.clone());
    }

    /// Forgets revisions that nobody holds.
    pub(crate) fn trim_revisions(&self) {
        self.revisions.write().retain(|_, spec| Arc::strong_count(spec) > 1);
    }
}
