//! Available: ready deployments of a version that sessions may join and that have sockets left, the nearest first.

use std::sync::Arc;

use spawnpoint_model::app::SessionKind;
use spawnpoint_model::deployment::{Desired, Status};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::place::score;
use spawnpoint_model::query::{Condition, ListQuery, Page, Paged, TextMatch};
use spawnpoint_model::site::Location;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{AppName, Deployment, Invalid, VersionName, VersionSpec};

use crate::deploy::Player;
use crate::list::page_of;
use crate::{Engine, Error};

/// What is looked for.
#[derive(Clone, PartialEq, Debug)]
pub struct AvailableQuery {
    /// The application.
    pub app: AppName,
    /// The version.
    pub version: VersionName,
    /// So many sockets have to be free.
    pub minimum_sockets: u32,
    /// Who wants to join: the nearest to them come first. Those whose position is not known are left out.
    pub players: Vec<Player>,
    /// Only deployments in this city, administrative division, country or continent; case does not matter.
    pub place: Option<String>,
}

/// A deployment with free sockets.
#[derive(Clone, PartialEq, Debug)]
pub struct Available {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// How many sockets are free.
    pub sockets: u32,
}

impl Engine {
    /// Lists the ready deployments that sessions may join and that have room, the nearest to the players first, else the
    /// oldest first.
    ///
    /// # Errors
    /// `Invalid` for an application or a version that does not exist; `Forbidden` for another application's.
    pub async fn available(
        &self,
        actor: &Actor,
        query: &AvailableQuery,
        page: Page,
    ) -> Result<Paged<Available>, Error> {
        self.need_app(actor, Scope::Read, &query.app)?;
        self.check_version(query).await?;
        let points: Vec<GeoPoint> = query.players.iter().filter_map(|p| self.position_of(p)).collect();
        let mut found: Vec<(u64, Available)> = Vec::new();
        for row in self.inner.rows.live_among(&narrowed(query)).await? {
            if let Some(sockets) = self.room(query, &row).await? {
                found.push((self.distance(&row, &points), Available { deployment: row, sockets }));
            }
        }
        let order = |at: &Available| (at.deployment.spec.created_at, at.deployment.id);
        found.sort_unstable_by(|(a, left), (b, right)| a.cmp(b).then_with(|| order(left).cmp(&order(right))));
        Ok(page_of(found.into_iter().map(|(_, available)| available).collect(), page))
    }

    async fn check_version(&self, query: &AvailableQuery) -> Result<(), Error> {
        let AvailableQuery { app, version, .. } = query;
        if self.inner.catalog.app(app).await?.is_none() {
            return Err(Invalid::new("app_name", format!("there is no application {app}")).into());
        }
        if self.inner.catalog.version(app, Some(version)).await?.is_none() {
            return Err(Invalid::new("app_version", format!("{app} has no version {version}")).into());
        }
        Ok(())
    }

    /// How many sockets of a row are free, if it can be joined and they are enough.
    async fn room(&self, query: &AvailableQuery, row: &Deployment) -> Result<Option<u32>, Error> {
        let joinable = row.spec.app == query.app
            && row.spec.version == query.version
            && row.status() == Status::Ready
            && row.state.desired == Desired::Run
            && row.state.joinable;
        if !joinable || query.place.as_ref().is_some_and(|place| !self.lies_in(row, place)) {
            return Ok(None);
        }
        let version = self.inner.rows.revision(&row.spec.revision).await?;
        Ok(free_sockets(&version).filter(|free| *free >= query.minimum_sockets.max(1)))
    }

    pub(crate) fn location(&self, row: &Deployment) -> Option<Location> {
        let runtime = self.inner.fleet.find(row.state.host.as_ref()?)?;
        Some(runtime.place.location.clone())
    }

    fn lies_in(&self, row: &Deployment, place: &str) -> bool {
        let same = |name: &str| name.trim().to_lowercase() == place.trim().to_lowercase();
        self.location(row).is_some_and(|at| {
            [&at.city, &at.administrative_division, &at.country, &at.continent]
                .into_iter()
                .any(|name| same(name))
        })
    }

    /// What is compared: microseconds of [`score`]; 0 where there is nobody to be near to.
    pub(crate) fn distance(&self, row: &Deployment, points: &[GeoPoint]) -> u64 {
        let at = self.location(row).map(|at| GeoPoint { latitude: at.latitude, longitude: at.longitude });
        let score = at.and_then(|at| score(at, points));
        score.map_or(if points.is_empty() { 0 } else { u64::MAX }, |score| {
            (score.ms() * 1000.0).round() as u64
        })
    }
}

/// Sockets of a deployment that nobody holds; `None` for a version without sessions. No session exists yet, so none of them
/// is held.
fn free_sockets(version: &VersionSpec) -> Option<u32> {
    version
        .session
        .as_ref()
        .filter(|session| session.kind != SessionKind::Default)
        .map(|session| session.sockets)
}

/// What the database can look for.
fn narrowed(query: &AvailableQuery) -> ListQuery {
    let conditions = vec![
        Condition::Application(TextMatch::In(vec![query.app.as_str().to_owned()])),
        Condition::Version(TextMatch::In(vec![query.version.as_str().to_owned()])),
        Condition::Status(Status::Ready, true),
        Condition::Joinable(true),
    ];
    ListQuery { conditions, ..ListQuery::default() }
}
