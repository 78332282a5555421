//! Hosts and private fleets, as operators and whoever deploys to a fleet see them.

use std::collections::HashMap;
use std::sync::Arc;

use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::host_settings::{HostSettings, Standing};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::site::{Host, PrivateFleet};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{HostId, Invalid};
use spawnpoint_store::HostUsage;

use crate::added::no_such_fleet;
use crate::host_settings::not_found;
use crate::hosts::HostRuntime;
use crate::list::page_of;
use crate::{Engine, Error};

/// A host as it is now.
#[derive(Clone, Debug)]
pub struct HostReport {
    /// What the config says of it.
    pub host: Arc<Host>,
    /// What operators said of it.
    pub settings: HostSettings,
    /// What follows from that now.
    pub standing: Standing,
    /// Its driver answers.
    pub healthy: bool,
    /// What its deployments hold.
    pub reserved: Resources,
    /// How many of them there are.
    pub deployments: u32,
    /// It was added while the server ran; else it is in the config.
    pub added: bool,
}

impl HostReport {
    /// Whether a deployment that names it can go there, if it has room.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.healthy && !self.standing.cordoned
    }
}

/// A private fleet as it is now.
#[derive(Clone, Debug)]
pub struct FleetReport {
    /// What the config says of it.
    pub fleet: PrivateFleet,
    /// Its hosts; those that were given up are not among them.
    pub hosts: Vec<HostReport>,
    /// It was added while the server ran; else it is in the config.
    pub added: bool,
}

impl Engine {
    /// Lists the hosts of a private fleet by their ids, without those that were given up; and the fleet.
    ///
    /// # Errors
    /// `Invalid` for a fleet that does not exist.
    pub async fn list_fleet_hosts(
        &self,
        actor: &Actor,
        fleet: &str,
        page: Page,
    ) -> Result<(PrivateFleet, Paged<HostReport>), Error> {
        self.need(actor, Scope::Read)?;
        let found = self.fleets_that(|name| name == fleet).await?.into_iter().next();
        let found =
            found.ok_or_else(|| Invalid::new("fleet-name", "there is no private fleet with this name"))?;
        Ok((found.fleet, page_of(found.hosts, page)))
    }

    /// Lists the private fleets in the order of the config, then those that were added by their names.
    ///
    /// # Errors
    /// `Forbidden` without `admin`.
    pub async fn list_private_fleets(&self, actor: &Actor, page: Page) -> Result<Paged<FleetReport>, Error> {
        self.need_unbound(actor)?;
        Ok(page_of(self.fleets_that(|_| true).await?, page))
    }

    /// Shows one private fleet.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` without `admin`.
    pub async fn get_private_fleet(&self, actor: &Actor, name: &str) -> Result<FleetReport, Error> {
        self.need_unbound(actor)?;
        self.fleets_that(|known| known == name).await?.into_iter().next().ok_or_else(no_such_fleet)
    }

    async fn fleets_that(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<FleetReport>, Error> {
        let mut members: HashMap<String, Vec<HostReport>> = HashMap::new();
        for host in self.hosts_that(|host| host.private_fleet.as_deref().is_some_and(&wanted)).await? {
            if let Some(fleet) = host.host.private_fleet.clone().filter(|_| !host.standing.retired) {
                members.entry(fleet).or_default().push(host);
            }
        }
        let mut hosts_of = |name: &str| members.remove(name).unwrap_or_default();
        let configured = self.inner.fleet.private().iter().filter(|fleet| wanted(&fleet.name));
        let mut fleets: Vec<FleetReport> = configured
            .map(|fleet| FleetReport { fleet: fleet.clone(), hosts: hosts_of(&fleet.name), added: false })
            .collect();
        let added = self.inner.fleet.added_fleets.read();
        // One that the config declares as well is the config's.
        let is_new = |name: &str| !self.inner.fleet.private().iter().any(|fleet| fleet.name == name);
        for fleet in added.iter().filter(|fleet| wanted(&fleet.name) && is_new(&fleet.name)) {
            let hosts = hosts_of(&fleet.name);
            let first = hosts.first().map(|host| &host.host.site.location);
            let first = first.map(|at| GeoPoint { latitude: at.latitude, longitude: at.longitude });
            fleets.push(FleetReport { fleet: fleet.with_hosts(hosts.len(), first), hosts, added: true });
        }
        Ok(fleets)
    }

    /// Lists all hosts by their ids, shared ones and those that were given up too.
    ///
    /// # Errors
    /// `Forbidden` without `admin`.
    pub async fn list_hosts(&self, actor: &Actor, page: Page) -> Result<Paged<HostReport>, Error> {
        self.need_unbound(actor)?;
        Ok(page_of(self.hosts_that(|_| true).await?, page))
    }

    /// Shows one host.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` without `admin`.
    pub async fn get_host(&self, actor: &Actor, id: &HostId) -> Result<HostReport, Error> {
        self.need_unbound(actor)?;
        self.hosts_that(|host| host.id == *id).await?.into_iter().next().ok_or_else(not_found)
    }

    /// Of the hosts that are named, whether none exists; then there is nothing that could be tried first.
    pub(crate) fn none_is_known(&self, named: &[HostId]) -> bool {
        !named.is_empty() && named.iter().all(|id| self.inner.fleet.find(id).is_none())
    }

    async fn hosts_that(&self, wanted: impl Fn(&Host) -> bool) -> Result<Vec<HostReport>, Error> {
        let usage = self.inner.store.host_usage().await?;
        let usage: HashMap<&HostId, &HostUsage> = usage.iter().map(|usage| (&usage.host, usage)).collect();
        let all = self.inner.fleet.all();
        let mut runtimes: Vec<&Arc<HostRuntime>> =
            all.iter().filter(|runtime| wanted(&runtime.setup.host)).collect();
        runtimes.sort_unstable_by(|a, b| a.id().cmp(b.id()));
        let now = self.now();
        let report = |runtime: &Arc<HostRuntime>| {
            let (id, host) = (runtime.id(), &runtime.setup.host);
            let fleet = &self.inner.fleet;
            HostReport {
                host: host.clone(),
                settings: fleet.settings(id).unwrap_or_else(|| HostSettings::new(id.clone(), now)),
                standing: fleet.standing(host, now),
                healthy: fleet.is_healthy(id),
                reserved: usage.get(id).map(|usage| usage.reserved).unwrap_or_default(),
                deployments: usage.get(id).map_or(0, |usage| usage.deployments),
                added: runtime.added.is_some(),
            }
        };
        Ok(runtimes.into_iter().map(report).collect())
    }
}
