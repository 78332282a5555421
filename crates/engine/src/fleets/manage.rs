//! Fleets: make, show, change, remove, list.

use spawnpoint_model::Invalid;
use spawnpoint_model::fleet::Fleet;
use spawnpoint_model::limits::FLEETS_MAX;
use spawnpoint_model::names::FleetName;
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_store::{Conflict, StoreError, Tx};

use super::no_fleet;
use crate::{Engine, Error};

/// A new fleet.
#[derive(Clone, Debug)]
pub struct NewFleet {
    /// Its name.
    pub name: FleetName,
    /// Whether anything happens.
    pub enabled: bool,
}

/// A change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct FleetPatch {
    /// A new name.
    pub name: Option<FleetName>,
    /// Whether anything happens.
    pub enabled: Option<bool>,
}

impl Engine {
    /// Makes a fleet. Needs `admin` and an unbound token.
    ///
    /// # Errors
    /// `Conflict` if the name is taken; `Invalid` if there are too many.
    pub async fn create_fleet(&self, actor: &Actor, new: NewFleet) -> Result<Fleet, Error> {
        self.need_unbound(actor)?;
        let [fleets, ..] = self.inner.store.count_fleets(&new.name).await?;
        if fleets >= FLEETS_MAX {
            let problem = format!("there are {FLEETS_MAX} fleets, the most possible");
            return Err(Invalid::new("name", problem).into());
        }
        let now = self.now();
        let NewFleet { name, enabled } = new;
        let fleet = Fleet { name, enabled, created_at: now, updated_at: now };
        let mut tx = Tx::new();
        tx.insert_fleet(&fleet);
        self.commit_fleets(tx).await?;
        Ok(fleet)
    }

    /// Shows a fleet.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_fleet(&self, actor: &Actor, name: &FleetName) -> Result<Fleet, Error> {
        self.need(actor, Scope::Read)?;
        self.inner.store.find_fleet(name).await?.ok_or_else(|| no_fleet(name))
    }

    /// Lists fleets, by name.
    ///
    /// # Errors
    /// Only if the store is not well.
    pub async fn list_fleets(&self, actor: &Actor, page: Page) -> Result<Paged<Fleet>, Error> {
        self.need(actor, Scope::Read)?;
        Ok(self.inner.store.list_fleets(page).await?)
    }

    /// Changes a fleet. Switched off, it starts nothing; what runs goes on.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the new name is taken.
    pub async fn update_fleet(
        &self,
        actor: &Actor,
        name: &FleetName,
        patch: FleetPatch,
    ) -> Result<Fleet, Error> {
        self.need_unbound(actor)?;
        let before = self.inner.store.find_fleet(name).await?.ok_or_else(|| no_fleet(name))?;
        let now = self.now();
        let fleet = Fleet {
            name: patch.name.unwrap_or(before.name),
            enabled: patch.enabled.unwrap_or(before.enabled),
            created_at: before.created_at,
            updated_at: now,
        };
        let mut tx = Tx::new();
        tx.update_fleet(name, &fleet);
        tx.wake_fleet(&fleet.name, now);
        self.commit_fleets(tx).await?;
        Ok(fleet)
    }

    /// Removes a fleet with its policies and links. Its deployments go on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_fleet(&self, actor: &Actor, name: &FleetName) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let mut tx = Tx::new();
        tx.delete_fleet(name);
        self.commit_fleets(tx).await
    }

    /// Commits a change of fleets, and has them looked at.
    pub(super) async fn commit_fleets(&self, tx: Tx) -> Result<(), Error> {
        let result = self.inner.store.commit(tx).await;
        self.inner.units.notify_one();
        match result {
            Err(StoreError::Conflict(conflict @ Conflict::Missing { .. })) => {
                Err(Error::NotFound(conflict.to_string()))
            }
            other => Ok(other?),
        }
    }
}
