//! Hosts and private fleets that operators add while the server runs.
//!
//! The store has the truth. A call stores first and takes the host in then; a restart and the other control planes
//! (within a second, from [`crate::host_settings`]) take in what they find stored and let go of what is not there any
//! more. What the config declares is not touched here, and wins over a stored one of the same name.
//!
//! How a host is reached is not known here: [`ConnectHost`] makes a [`HostSetup`] of what an operator said, and refuses
//! what the config does not allow.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use spawnpoint_model::added::{AddedFleet, AddedHost, FLEETS_MAX, HOSTS_MAX, StoredHost, is_name};
use spawnpoint_model::token::Actor;
use spawnpoint_model::{HostId, Invalid, Invalids};
use spawnpoint_store::{Conflict, StoreError, Tx};

use crate::host_settings::not_found;
use crate::hosts::{HostRuntime, HostSetup};
use crate::private_fleets::{FleetReport, HostReport};
use crate::{Engine, Error};

/// How long the first look at a new host may take; it is taken in all the same.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// How long a host that is removed may take to tell whether anything is left on it.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// Connects hosts that operators add.
#[async_trait]
pub trait ConnectHost: Send + Sync {
    /// The host with its driver. `beside` are the other hosts that were added.
    ///
    /// # Errors
    /// What is wrong or not allowed, by the field of [`AddedHost`].
    async fn connect(&self, host: &AddedHost, beside: &[AddedHost]) -> Result<HostSetup, Invalids>;
}

impl Engine {
    /// Adds a host, and shows it as it is after a first look at it.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` for a name that is taken; `Forbidden` without `admin`.
    pub async fn add_host(&self, actor: &Actor, mut host: AddedHost) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        if !is_name(host.id.as_str()) {
            return Err(
                Invalid::new("host_id", "must be letters, digits, dots, hyphens or underscores").into()
            );
        }
        let _changing = self.inner.fleet.changing.lock().await;
        self.follow_added().await?;
        if self.inner.fleet.find(&host.id).is_some() {
            return Err(Error::Conflict(format!("there is a host {} already", host.id)));
        }
        let fleet = self.added_fleet_of(&host)?;
        let beside = self.added_hosts();
        if beside.len() >= HOSTS_MAX {
            return Err(Error::Conflict(format!("{HOSTS_MAX} hosts were added, the most possible")));
        }
        let connect = self.inner.connect.as_ref().ok_or_else(|| not_here("hosts"))?;
        let setup = connect.connect(&host, &beside).await?;
        host.measured = host.capacity.is_none();
        host.capacity = Some(setup.host.capacity);
        let mut tx = Tx::new();
        let created_at = self.now();
        tx.add_host(&host, fleet.as_deref(), created_at);
        match self.inner.store.commit(tx).await {
            Ok(()) => {}
            Err(StoreError::Conflict(Conflict::Exists { .. })) => {
                return Err(Error::Conflict(format!("there is a host {} already", host.id)));
            }
            Err(StoreError::Conflict(Conflict::Missing { .. })) => return Err(no_fleet().into()),
            Err(other) => return Err(other.into()),
        }
        let id = host.id.clone();
        tracing::info!(host.id = %id, token = %actor.token, "host is added by an operator");
        let runtime = self.take_in(setup, StoredHost { host, created_at }).await?;
        if tokio::time::timeout(FIRST_LOOK, self.resync_host(&runtime)).await.is_err() {
            tracing::warn!(host.id = %id, "host did not answer in time; it is used when it does");
        }
        self.get_host(actor, &id).await
    }

    /// Removes a host that was added, once nothing is left on it.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for one of the config, or while something is left on it; `Forbidden` without `admin`.
    pub async fn remove_host(&self, actor: &Actor, id: &HostId) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let _changing = self.inner.fleet.changing.lock().await;
        self.follow_added().await?;
        let runtime = self.inner.fleet.find(id).ok_or_else(not_found)?;
        if runtime.added.is_none() {
            let why = "the host is declared in the configuration: take it out there, and restart";
            return Err(Error::Conflict(why.to_owned()));
        }
        let before = self.get_host(actor, id).await?;
        if before.deployments > 0 {
            return Err(in_use(&format!("{} deployments hold something of it", before.deployments)));
        }
        if let Ok(Ok(left)) = tokio::time::timeout(LAST_LOOK, runtime.driver().list()).await
            && !left.is_empty()
        {
            return Err(in_use(&format!("{} workloads are left on it", left.len())));
        }
        // First nothing new, for every control plane: what another one is placing at this moment is seen below.
        let mut tx = Tx::new();
        tx.see_host(id, runtime.setup.host.private_fleet.as_deref(), self.now());
        tx.set_host_cordon(id, true, before.settings.drain, self.now());
        self.inner.store.commit(tx).await?;
        let mut tx = Tx::new();
        tx.remove_host(id, self.now());
        match self.inner.store.commit(tx).await {
            Ok(()) => {}
            Err(StoreError::Conflict(_)) => {
                let mut tx = Tx::new();
                let settings = &before.settings;
                tx.set_host_cordon(id, settings.cordoned.unwrap_or(false), settings.drain, self.now());
                self.inner.store.commit(tx).await?;
                return Err(in_use("a deployment was placed on it meanwhile"));
            }
            Err(other) => return Err(other.into()),
        }
        self.inner.fleet.remove(id);
        tracing::info!(host.id = %id, token = %actor.token, "host is removed by an operator");
        self.reload_settings().await
    }

    /// Adds a private fleet.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` for a name that is taken; `Forbidden` without `admin`.
    pub async fn add_private_fleet(&self, actor: &Actor, fleet: AddedFleet) -> Result<FleetReport, Error> {
        self.need_unbound(actor)?;
        if !is_name(&fleet.name) {
            return Err(Invalid::new("name", "must be letters, digits, dots, hyphens or underscores").into());
        }
        let _changing = self.inner.fleet.changing.lock().await;
        self.follow_added().await?;
        let taken = || Error::Conflict(format!("there is a private fleet {} already", fleet.name));
        if self.knows_fleet(&fleet.name) {
            return Err(taken());
        }
        if self.inner.fleet.added_fleets.read().len() >= FLEETS_MAX {
            return Err(Error::Conflict(format!(
                "{FLEETS_MAX} private fleets were added, the most possible"
            )));
        }
        let mut tx = Tx::new();
        tx.add_private_fleet(&fleet, self.now());
        match self.inner.store.commit(tx).await {
            Ok(()) => {}
            Err(StoreError::Conflict(_)) => return Err(taken()),
            Err(other) => return Err(other.into()),
        }
        tracing::info!(fleet = %fleet.name, token = %actor.token, "private fleet is added by an operator");
        self.read_fleets().await?;
        self.get_private_fleet(actor, &fleet.name).await
    }

    /// Removes a private fleet that was added and has no hosts.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for one of the config, or while it has hosts; `Forbidden` without `admin`.
    pub async fn remove_private_fleet(&self, actor: &Actor, name: &str) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let _changing = self.inner.fleet.changing.lock().await;
        self.follow_added().await?;
        if self.inner.fleet.private().iter().any(|fleet| fleet.name == name) {
            let why = "the private fleet is declared in the configuration: take it out there, and restart";
            return Err(Error::Conflict(why.to_owned()));
        }
        let has_hosts = || Error::Conflict("the private fleet has hosts: remove them first".to_owned());
        if self.added_hosts().iter().any(|host| host.private_fleet.as_deref() == Some(name)) {
            return Err(has_hosts());
        }
        let mut tx = Tx::new();
        tx.remove_private_fleet(name);
        match self.inner.store.commit(tx).await {
            Ok(()) => {}
            Err(StoreError::Conflict(Conflict::Missing { .. })) => return Err(no_such_fleet()),
            Err(StoreError::Conflict(_)) => return Err(has_hosts()),
            Err(other) => return Err(other.into()),
        }
        tracing::info!(fleet = %name, token = %actor.token, "private fleet is removed by an operator");
        Ok(self.read_fleets().await?)
    }

    /// The private fleet of a host, if it was added too.
    fn added_fleet_of(&self, host: &AddedHost) -> Result<Option<String>, Error> {
        let Some(name) = &host.private_fleet else { return Ok(None) };
        if self.inner.fleet.private().iter().any(|fleet| fleet.name == *name) {
            return Ok(None);
        }
        if self.knows_fleet(name) { Ok(Some(name.clone())) } else { Err(no_fleet().into()) }
    }

    fn knows_fleet(&self, name: &str) -> bool {
        let fleet = &self.inner.fleet;
        fleet.private().iter().any(|known| known.name == name)
            || fleet.added_fleets.read().iter().any(|known| known.name == name)
    }

    /// What operators said of the added hosts that are here.
    fn added_hosts(&self) -> Vec<AddedHost> {
        let all = self.inner.fleet.all();
        all.iter().filter_map(|runtime| runtime.added.as_ref()).map(|added| added.host.clone()).collect()
    }

    /// Takes a connected host in: what is free on it, what was said of it, its tasks.
    async fn take_in(&self, setup: HostSetup, added: StoredHost) -> Result<Arc<HostRuntime>, Error> {
        let inner = &self.inner;
        let id = setup.host.id.clone();
        let (usage, leases) = (inner.store.host_usage().await?, inner.store.port_leases(Some(&id)).await?);
        let runtime = inner.fleet.add(setup, added);
        inner.fleet.load_host(&id, &usage, &leases);
        self.reload_settings().await?;
        crate::tasks::begin_host(self, &runtime);
        Ok(runtime)
    }

    /// Takes in what is stored, at start.
    pub(crate) async fn load_added(&self) -> Result<(), Error> {
        let _changing = self.inner.fleet.changing.lock().await;
        self.follow_added().await
    }

    /// What other control planes added and removed, unless hosts are being changed here; then the next look sees it.
    pub(crate) async fn follow_others(&self) -> Result<(), Error> {
        match self.inner.fleet.changing.try_lock() {
            Ok(_changing) => self.follow_added().await,
            Err(_) => Ok(()),
        }
    }

    /// Takes in what is stored and not here, and lets go of what is here and not stored. `changing` is held.
    async fn follow_added(&self) -> Result<(), Error> {
        let fleet = &self.inner.fleet;
        let Some(connect) = &self.inner.connect else { return Ok(()) };
        self.read_fleets().await?;
        let stored = self.inner.store.added_hosts().await?;
        for runtime in fleet.all().iter() {
            if runtime.added.as_ref().is_some_and(|added| !stored.contains(added)) {
                tracing::info!(host.id = %runtime.id(), "host was removed");
                fleet.remove(runtime.id());
            }
        }
        for added in stored {
            if fleet.find(&added.host.id).is_some() {
                continue;
            }
            match connect.connect(&added.host, &self.added_hosts()).await {
                Ok(setup) => {
                    fleet.unusable.lock().remove(&added.host.id);
                    self.take_in(setup, added).await?;
                }
                Err(problem) if fleet.unusable.lock().insert(added.host.id.clone()) => {
                    tracing::error!(host.id = %added.host.id, %problem, "an added host cannot be used now");
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn read_fleets(&self) -> Result<(), StoreError> {
        let fleets = self.inner.store.added_fleets().await?;
        *self.inner.fleet.added_fleets.write() = fleets;
        Ok(())
    }
}

fn in_use(why: &str) -> Error {
    Error::Conflict(format!("the host is in use: {why}; drain it first"))
}

fn no_fleet() -> Invalid {
    Invalid::new("private_fleet", "there is no private fleet with this name")
}

pub(crate) fn no_such_fleet() -> Error {
    Error::NotFound("there is no private fleet with this name".to_owned())
}

fn not_here(what: &str) -> Error {
    Error::Conflict(format!("{what} cannot be added here"))
}
