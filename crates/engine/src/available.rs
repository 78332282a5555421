//! Available: ready deployments of a version that sessions may join and that have sockets left, the nearest first.

use std::collections::HashMap;
use std::sync::Arc;

use spawnpoint_model::deployment::{Desired, Status};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::place::score;
use spawnpoint_model::query::{Condition, ListQuery, Page, Paged, TextMatch};
use spawnpoint_model::site::Location;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{AppName, Deployment, Invalid, VersionName};

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
        let rows: Vec<_> = self.inner.rows.live_among(&narrowed(query)).await?;
        let rows: Vec<_> = rows.into_iter().filter(|row| self.is_joinable(query, row)).collect();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let usage = self.inner.store.session_usage(&ids).await?;
        let free: HashMap<_, _> = usage.iter().filter_map(|u| Some((u.deployment, u.free?))).collect();
        let mut found: Vec<(u64, Available)> = Vec::new();
        for row in rows {
            if let Some(sockets) = free.get(&row.id).filter(|free| **free >= query.minimum_sockets.max(1)) {
                found.push((self.distance(&row, &points), Available { deployment: row, sockets: *sockets }));
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

    /// Whether sessions may join a row, as long as it has sockets.
    fn is_joinable(&self, query: &AvailableQuery, row: &Deployment) -> bool {
        row.spec.app == query.app
            && row.spec.version == query.version
            && row.status() == Status::Ready
            && row.state.desired == Desired::Run
            && row.state.joinable
            && query.place.as_ref().is_none_or(|place| self.lies_in(row, place))
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
