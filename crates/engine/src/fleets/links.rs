//! Which versions a fleet deploys: link, unlink, list.

use spawnpoint_model::Invalid;
use spawnpoint_model::fleet::Link;
use spawnpoint_model::limits::LINKS_MAX;
use spawnpoint_model::names::{AppName, FleetName, VersionName};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::Actor;
use spawnpoint_store::Tx;

use super::no_fleet;
use crate::list::page_of;
use crate::{Engine, Error};

impl Engine {
    /// Links a version to a fleet; one that is linked stays so. Needs `admin` and an unbound token.
    ///
    /// # Errors
    /// `NotFound`: fleet, application or version; `Invalid`: the version has no sockets for sessions, or the fleet has too
    /// many links.
    pub async fn link_version(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Link, Error> {
        self.need_unbound(actor)?;
        self.inner.store.find_fleet(fleet).await?.ok_or_else(|| no_fleet(fleet))?;
        let found = self.get_version(actor, app, version).await?;
        if let Some(link) = self.inner.store.find_fleet_link(fleet, app, version).await? {
            return Ok(link);
        }
        let kind = found.spec.session.map(|session| session.kind);
        if kind.is_none_or(|kind| kind == spawnpoint_model::app::SessionKind::Default) {
            let problem = "only versions whose session_config has the kind Seat or Match can be linked";
            return Err(Invalid::new("version_name", problem).into());
        }
        let [_, _, links] = self.inner.store.count_fleets(fleet).await?;
        if links >= LINKS_MAX {
            let problem = format!("the fleet has {LINKS_MAX} links, the most possible");
            return Err(Invalid::new("version_name", problem).into());
        }
        let link =
            Link { fleet: fleet.clone(), app: app.clone(), version: version.clone(), created_at: self.now() };
        let mut tx = Tx::new();
        tx.insert_fleet_link(&link);
        self.commit_fleets(tx).await?;
        Ok(link)
    }

    /// Takes a version off a fleet. Its deployments go on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn unlink_version(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        app: &AppName,
        version: &VersionName,
    ) -> Result<(), Error> {
        self.need_unbound(actor)?;
        self.inner.store.find_fleet(fleet).await?.ok_or_else(|| no_fleet(fleet))?;
        let mut tx = Tx::new();
        tx.delete_fleet_link(fleet, app, version);
        self.commit_fleets(tx).await
    }

    /// Lists the versions that are linked to a fleet, those that are the actor's business.
    ///
    /// # Errors
    /// `NotFound` for the fleet.
    pub async fn list_links(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        page: Page,
    ) -> Result<Paged<Link>, Error> {
        self.get_fleet(actor, fleet).await?;
        let all = Page { number: 1, limit: u32::try_from(LINKS_MAX).unwrap_or(u32::MAX) };
        let mut links = self.inner.store.list_fleet_links(fleet, all).await?.items;
        links.retain(|link| actor.may_see(&link.app));
        Ok(page_of(links, page))
    }
}
