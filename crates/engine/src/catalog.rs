//! Applications and versions as a deploy needs them: from memory where this process is the only one that writes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use spawnpoint_model::Cidr;
use spawnpoint_model::app::{Application, Version};
use spawnpoint_model::names::{AppName, VersionName};
use spawnpoint_model::storage::PullProfile;
use spawnpoint_store::dialect::Dialect;
use spawnpoint_store::{Store, StoreError};

type VersionKey = (AppName, Option<VersionName>);

/// What was read lately; forgotten as a whole when anything changes.
#[derive(Default)]
struct Known {
    apps: HashMap<AppName, Arc<Application>>,
    versions: HashMap<VersionKey, Arc<Version>>,
    profiles: HashMap<(AppName, VersionName), Arc<[PullProfile]>>,
    networks: HashMap<(AppName, VersionName), Arc<[Cidr]>>,
    /// Counts the changes, so that a read that began before one is not kept after it.
    epoch: u64,
}

/// Applications and versions.
pub(crate) struct Catalog {
    store: Store,
    known: Option<RwLock<Known>>,
}

impl Catalog {
    pub(crate) fn new(store: Store) -> Self {
        let exclusive = store.dialect() == Dialect::Sqlite;
        Self { store, known: exclusive.then(RwLock::default) }
    }

    /// Must be called after each commit that changed an application, a version, a pull profile or an access list.
    pub(crate) fn changed(&self) {
        if let Some(known) = &self.known {
            let mut known = known.write();
            *known = Known { epoch: known.epoch + 1, ..Known::default() };
        }
    }

    pub(crate) async fn app(&self, name: &AppName) -> Result<Option<Arc<Application>>, StoreError> {
        let Some(known) = &self.known else {
            return Ok(self.store.find_application(name).await?.map(Arc::new));
        };
        let epoch = {
            let known = known.read();
            if let Some(app) = known.apps.get(name) {
                return Ok(Some(app.clone()));
            }
            known.epoch
        };
        let Some(app) = self.store.find_application(name).await?.map(Arc::new) else { return Ok(None) };
        let mut known = known.write();
        if known.epoch == epoch {
            known.apps.insert(name.clone(), app.clone());
        }
        Ok(Some(app))
    }

    /// The version of that name, or the one that was created last.
    pub(crate) async fn version(
        &self,
        app: &AppName,
        name: Option<&VersionName>,
    ) -> Result<Option<Arc<Version>>, StoreError> {
        let Some(known) = &self.known else { return self.read_version(app, name).await };
        let key = (app.clone(), name.cloned());
        let epoch = {
            let known = known.read();
            if let Some(version) = known.versions.get(&key) {
                return Ok(Some(version.clone()));
            }
            known.epoch
        };
        let Some(version) = self.read_version(app, name).await? else { return Ok(None) };
        let mut known = known.write();
        if known.epoch == epoch {
            known.versions.insert(key, version.clone());
        }
        Ok(Some(version))
    }

    /// The pull profiles that a version is linked to.
    pub(crate) async fn profiles(
        &self,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Arc<[PullProfile]>, StoreError> {
        let read = async || Ok::<_, StoreError>(self.store.profiles_of(app, version).await?.into());
        let Some(known) = &self.known else { return read().await };
        let key = (app.clone(), version.clone());
        let epoch = {
            let known = known.read();
            if let Some(profiles) = known.profiles.get(&key) {
                return Ok(profiles.clone());
            }
            known.epoch
        };
        let profiles: Arc<[PullProfile]> = read().await?;
        let mut known = known.write();
        if known.epoch == epoch {
            known.profiles.insert(key, profiles.clone());
        }
        Ok(profiles)
    }

    /// The networks of a version's access list that count.
    pub(crate) async fn networks(
        &self,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Arc<[Cidr]>, StoreError> {
        let read = async || {
            let entries = self.store.access_entries(app, version).await?.into_iter();
            let mut active: Vec<Cidr> = entries.filter(|e| e.is_active).map(|e| e.network).collect();
            active.sort_unstable();
            active.dedup();
            Ok::<_, StoreError>(active.into())
        };
        let Some(known) = &self.known else { return read().await };
        let key = (app.clone(), version.clone());
        let epoch = {
            let known = known.read();
            if let Some(networks) = known.networks.get(&key) {
                return Ok(networks.clone());
            }
            known.epoch
        };
        let networks: Arc<[Cidr]> = read().await?;
        let mut known = known.write();
        if known.epoch == epoch {
            known.networks.insert(key, networks.clone());
        }
        Ok(networks)
    }

    async fn read_version(
        &self,
        app: &AppName,
        name: Option<&VersionName>,
    ) -> Result<Option<Arc<Version>>, StoreError> {
        let found = match name {
            Some(name) => self.store.find_version(app, name).await?,
            None => self.store.latest_version(app).await?,
        };
        Ok(found.map(Arc::new))
    }
}
