//! Locations: the sites on which one can deploy, and the beacons by which players measure how far they are from them.
//!
//! What belongs to a private fleet alone is nobody's location: it takes only deployments that name it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use spawnpoint_model::place::{Ask, Room};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::site::{Beacon, Location, Site};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{AppName, Invalid, VersionName};

use crate::list::page_of;
use crate::{Engine, Error};

/// Only sites that could take a deployment of this now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomFor {
    /// The application.
    pub app: AppName,
    /// The version; `None` = the one that was created last, as in a deploy request.
    pub version: Option<VersionName>,
}

/// Sites.
#[derive(Clone, PartialEq, Debug)]
pub struct Locations {
    /// A page of them, in the order of the configuration.
    pub sites: Paged<Arc<Site>>,
    /// How many sites there are besides, without room.
    pub without_room: usize,
}

/// A beacon and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct PlacedBeacon {
    /// How it is reached.
    pub beacon: Beacon,
    /// Where it stands.
    pub location: Location,
}

impl Engine {
    /// Lists the sites, each once.
    ///
    /// # Errors
    /// `Invalid` for an application or a version that does not exist, under `app` and `version`; `Forbidden` for another
    /// application's.
    pub async fn list_locations(
        &self,
        actor: &Actor,
        room_for: Option<&RoomFor>,
        page: Page,
    ) -> Result<Locations, Error> {
        self.need(actor, Scope::Read)?;
        let all = self.inner.fleet.shared_sites();
        let total = all.len();
        let sites: Vec<Arc<Site>> = match room_for {
            None => all,
            Some(wanted) => {
                let usable = self.sites_with_room(actor, wanted).await?;
                all.into_iter().filter(|site| usable.contains(site.id.as_str())).collect()
            }
        };
        Ok(Locations { without_room: total - sites.len(), sites: page_of(sites, page) })
    }

    async fn sites_with_room(&self, actor: &Actor, wanted: &RoomFor) -> Result<HashSet<String>, Error> {
        let RoomFor { app, version } = wanted;
        self.need_app(actor, Scope::Read, app)?;
        if self.inner.catalog.app(app).await?.is_none() {
            return Err(Invalid::new("app", format!("there is no application {app}")).into());
        }
        let found = self.inner.catalog.version(app, version.as_ref()).await?.ok_or_else(|| {
            let problem = match version {
                Some(name) => format!("{app} has no version {name}"),
                None => format!("{app} has no version yet"),
            };
            Invalid::new("version", problem)
        })?;
        let image = found.spec.image.reference();
        let ports = u32::try_from(found.spec.ports.len()).unwrap_or(u32::MAX);
        let room = Room { resources: found.spec.resources, ports };
        let filters_clients = found.spec.access_list_active;
        let ask = Ask { image: &image, filters_clients, room, ..Ask::default() };
        Ok(self.inner.fleet.usable_sites(&ask, self.now()))
    }

    /// Lists the beacons of shared hosts, each once.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn list_beacons(&self, actor: &Actor) -> Result<Vec<PlacedBeacon>, Error> {
        self.need(actor, Scope::Read)?;
        let mut seen = BTreeSet::new();
        let mut beacons = Vec::new();
        for runtime in self.inner.fleet.all().iter() {
            let host = &runtime.setup.host;
            let Some(beacon) = host.beacon.as_ref().filter(|_| host.private_fleet.is_none()) else {
                continue;
            };
            if seen.insert((beacon, host.site.id.as_str())) {
                beacons.push(PlacedBeacon { beacon: beacon.clone(), location: host.site.location.clone() });
            }
        }
        Ok(beacons)
    }
}
