//! Access lists of versions: list, show, add, remove; and how they come into force.
//!
//! A deployment whose version is switched to its list is started with it ([`WorkloadSpec::access`]): the driver lets
//! nobody in before the list holds. When a list changes, the task `access` gives it to the hosts of the deployments that
//! run; each resync gives all of them again, so what a host has lost comes back, and what is left over goes.
//!
//! With several control planes, the one that is asked rings its own bell and leaves a mark in the store; the others look
//! at the mark once a second, in their `claim` task.
//!
//! [`WorkloadSpec::access`]: spawnpoint_driver::WorkloadSpec

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use spawnpoint_driver::{AccessList, DriverError};
use spawnpoint_model::limits::ACCESS_ENTRIES_MAX;
use spawnpoint_model::names::{AppName, VersionName};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{AccessEntry, AccessEntryId, Cidr, Deployment, HostId, VersionSpec};
use spawnpoint_store::{StoreError, Tx};
use tokio::sync::Notify;

use crate::hosts::HostRuntime;
use crate::workload::publish;
use crate::{Engine, Error};

/// What the task `access` stands on.
#[derive(Default)]
pub(crate) struct AccessLists {
    /// A list has changed.
    pub(crate) bell: Notify,
    /// What the store said last about changes.
    mark: Mutex<Option<String>>,
}

/// A new entry, already checked field by field.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Who may come.
    pub network: Cidr,
    /// A note for people.
    pub label: String,
    /// Whether it counts.
    pub is_active: bool,
}

impl Engine {
    /// The access list of a version, in the order in which it was made.
    ///
    /// # Errors
    /// `NotFound` for the application or the version.
    pub async fn list_access(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Vec<AccessEntry>, Error> {
        self.get_version(actor, app, version).await?;
        Ok(self.inner.store.access_entries(app, version).await?)
    }

    /// One entry.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_access(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &VersionName,
        id: AccessEntryId,
    ) -> Result<AccessEntry, Error> {
        let entries = self.list_access(actor, app, version).await?;
        let found = entries.into_iter().find(|entry| entry.id == id);
        found.ok_or_else(|| Error::NotFound(format!("{version} of {app} has no access list entry {id}")))
    }

    /// Adds an entry; deployments that run let the network in a moment later.
    ///
    /// # Errors
    /// `NotFound` for the application or the version; `Conflict` if the list is full.
    pub async fn create_access(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &VersionName,
        new: NewEntry,
    ) -> Result<AccessEntry, Error> {
        self.need_app(actor, Scope::Admin, app)?;
        let entries = self.list_access(actor, app, version).await?;
        if entries.len() >= ACCESS_ENTRIES_MAX {
            return Err(Error::Conflict(format!(
                "the access list of {version} of {app} has {ACCESS_ENTRIES_MAX} entries, and more are not possible"
            )));
        }
        let id = loop {
            // 31 bits: a positive number for everybody who reads it as one.
            let id = AccessEntryId((self.inner.entropy.u64() >> 33) as u32);
            if id.0 != 0 && entries.iter().all(|entry| entry.id != id) {
                break id;
            }
        };
        let NewEntry { network, label, is_active } = new;
        let entry = AccessEntry { id, network, label, is_active, created_at: self.now() };
        let mut tx = Tx::new();
        tx.insert_access_entry(app, version, &entry);
        self.commit_access(tx).await?;
        Ok(entry)
    }

    /// Removes an entry; deployments that run let the network in no more a moment later.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_access(
        &self,
        actor: &Actor,
        app: &AppName,
        version: &VersionName,
        id: AccessEntryId,
    ) -> Result<AccessEntry, Error> {
        self.need_app(actor, Scope::Admin, app)?;
        let entry = self.get_access(actor, app, version, id).await?;
        let mut tx = Tx::new();
        tx.delete_access_entry(app, version, id);
        self.commit_access(tx).await?;
        Ok(entry)
    }

    async fn commit_access(&self, mut tx: Tx) -> Result<(), Error> {
        tx.mark_access_lists(&format!("{:016x}", self.inner.entropy.u64()));
        let result = self.commit_catalog(tx).await;
        // Also if nobody knows whether it was committed.
        self.inner.access_lists.bell.notify_one();
        result
    }

    /// Who may reach a deployment; `None` = everybody.
    pub(crate) async fn allowed(
        &self,
        row: &Deployment,
        version: &VersionSpec,
    ) -> Result<Option<Arc<[Cidr]>>, StoreError> {
        if !version.access_list_active {
            return Ok(None);
        }
        self.inner.catalog.networks(&row.spec.app, &row.spec.version).await.map(Some)
    }

    /// Gives a host the lists of its deployments. It takes away what is left of others on the way.
    pub(crate) async fn put_access(
        &self,
        runtime: &HostRuntime,
        rows: impl IntoIterator<Item = &Arc<Deployment>>,
    ) -> Result<(), StoreError> {
        let mut lists = Vec::new();
        for row in rows.into_iter().filter(|row| row.state.phase.may_have_workload()) {
            let networks = self.networks_of(row).await?;
            runtime.set_guests(row, networks.as_ref());
            lists.extend(networks.map(|networks| list_of(row, &networks)));
        }
        match runtime.driver().set_access(&lists).await {
            Ok(()) => {}
            // It is told every 15 seconds as it is.
            Err(error) if lists.is_empty() => {
                tracing::debug!(host.id = %runtime.id(), error = %error, "access lists were not looked after");
            }
            Err(error) => {
                tracing::warn!(host.id = %runtime.id(), error = %error, lists = lists.len(), "access lists are not in force; trying again");
            }
        }
        Ok(())
    }

    /// The same, of a row whose version has to be looked up.
    pub(crate) async fn networks_of(&self, row: &Deployment) -> Result<Option<Arc<[Cidr]>>, StoreError> {
        let version = self.inner.rows.revision(&row.spec.revision).await?;
        self.allowed(row, &version).await
    }

    async fn access_list(&self, row: &Deployment) -> Result<Option<AccessList>, StoreError> {
        Ok(self.networks_of(row).await?.map(|networks| list_of(row, &networks)))
    }

    /// What must be done for a workload that was just started: its list may have changed on the way.
    pub(crate) async fn catch_up_access(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
        started_with: &[Cidr],
    ) -> Result<(), DriverError> {
        match self.access_list(row).await {
            Ok(Some(list)) if list.networks != started_with => runtime.driver().set_access(&[list]).await,
            // A resync will see to it.
            _ => Ok(()),
        }
    }

    /// The lists that should be in force, by host: for the audit.
    pub(crate) async fn access_meant(
        &self,
        rows: impl IntoIterator<Item = &Arc<Deployment>>,
    ) -> Result<HashMap<HostId, Vec<AccessList>>, StoreError> {
        let mut meant: HashMap<HostId, Vec<AccessList>> = HashMap::new();
        for row in rows {
            let Some(host) = row.state.host.clone().filter(|_| row.state.phase.may_have_workload()) else {
                continue;
            };
            if let Some(list) = self.access_list(row).await? {
                meant.entry(host).or_default().push(list);
            }
        }
        Ok(meant)
    }

    /// Rings the bell if another control plane has changed a list since the last look.
    pub(crate) async fn look_for_access_changes(&self) -> Result<(), StoreError> {
        let mark = self.inner.store.access_lists_mark().await?;
        let before = std::mem::replace(&mut *self.inner.access_lists.mark.lock(), mark.clone());
        if before != mark {
            self.inner.access_lists.bell.notify_one();
        }
        Ok(())
    }
}

fn list_of(row: &Deployment, networks: &[Cidr]) -> AccessList {
    let ports = row.state.ports.iter().flat_map(publish).collect();
    AccessList { id: row.workload(), ports, networks: networks.to_vec() }
}

/// The task: whenever a list has changed, every host that runs a deployment with a list is given its lists.
pub(crate) async fn run(engine: Engine) {
    loop {
        engine.inner.access_lists.bell.notified().await;
        let hosts = engine.inner.fleet.all();
        let all = hosts.iter().map(|runtime| put_on(&engine, runtime));
        futures_util::future::join_all(all).await;
    }
}

async fn put_on(engine: &Engine, runtime: &Arc<HostRuntime>) {
    let put = async {
        let rows = engine.inner.rows.on_host(runtime.id()).await?;
        engine.put_access(runtime, &rows).await
    };
    if let Err(error) = put.await {
        tracing::warn!(host.id = %runtime.id(), error = %error, "access lists could not be read; the next resync tries again");
    }
}
