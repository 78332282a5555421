//! Policies of a fleet: make, show, change, remove, list.

use spawnpoint_model::filter::LocationFilter;
use spawnpoint_model::fleet::{Policy, PolicyKind, PolicySpec};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::limits::POLICIES_MAX;
use spawnpoint_model::names::{FleetName, PolicyName};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Invalid, PolicyId};
use spawnpoint_store::Tx;

use super::no_fleet;
use crate::{Engine, Error};

/// A change of a policy; `None` leaves a field as it is, the inner `None` of a doubled option clears it.
#[derive(Clone, Debug, Default)]
pub struct PolicyPatch {
    /// A new name.
    pub name: Option<PolicyName>,
    /// Whether anything happens.
    pub enabled: Option<bool>,
    /// By what it says where.
    pub kind: Option<PolicyKind>,
    /// Deployments that are always there.
    pub minimum: Option<u32>,
    /// Never more than this.
    pub maximum: Option<Option<u32>>,
    /// Share of the sockets from which on there is one more.
    pub threshold: Option<f64>,
    /// Where: filters, points, and both as the user wrote them.
    pub data: Option<(Vec<LocationFilter>, Vec<GeoPoint>, String)>,
}

impl Engine {
    /// Makes a policy. Needs `admin` and an unbound token.
    ///
    /// # Errors
    /// `NotFound` for the fleet; `Conflict` if the name is taken; `Invalid`.
    pub async fn create_policy(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        name: PolicyName,
        spec: PolicySpec,
    ) -> Result<Policy, Error> {
        self.need_unbound(actor)?;
        self.inner.store.find_fleet(fleet).await?.ok_or_else(|| no_fleet(fleet))?;
        check(&spec)?;
        let [_, policies, _] = self.inner.store.count_fleets(fleet).await?;
        if policies >= POLICIES_MAX {
            let problem = format!("the fleet has {POLICIES_MAX} policies, the most possible");
            return Err(Invalid::new("name", problem).into());
        }
        let now = self.now();
        let id = PolicyId::from(format!("{:016x}", self.inner.entropy.u64()));
        let policy = Policy { id, fleet: fleet.clone(), name, spec, created_at: now, updated_at: now };
        let mut tx = Tx::new();
        tx.insert_policy(&policy);
        self.commit_fleets(tx).await?;
        Ok(policy)
    }

    /// Shows a policy.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_policy(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        name: &PolicyName,
    ) -> Result<Policy, Error> {
        self.need(actor, Scope::Read)?;
        self.find_policy(fleet, name).await
    }

    /// Lists the policies of a fleet, by name.
    ///
    /// # Errors
    /// `NotFound` for the fleet.
    pub async fn list_policies(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        page: Page,
    ) -> Result<Paged<Policy>, Error> {
        self.get_fleet(actor, fleet).await?;
        Ok(self.inner.store.list_policies(fleet, page).await?)
    }

    /// Changes a policy. What runs goes on; nothing is started beyond the new bounds.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the new name is taken; `Invalid`.
    pub async fn update_policy(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        name: &PolicyName,
        patch: PolicyPatch,
    ) -> Result<Policy, Error> {
        self.need_unbound(actor)?;
        let before = self.find_policy(fleet, name).await?;
        let PolicyPatch { name, enabled, kind, minimum, maximum, threshold, data } = patch;
        let (filters, points, data) = data.unwrap_or_else(|| {
            (before.spec.filters.clone(), before.spec.points.clone(), before.spec.data.clone())
        });
        let spec = PolicySpec {
            enabled: enabled.unwrap_or(before.spec.enabled),
            kind: kind.unwrap_or(before.spec.kind),
            minimum: minimum.unwrap_or(before.spec.minimum),
            maximum: maximum.unwrap_or(before.spec.maximum),
            threshold: threshold.unwrap_or(before.spec.threshold),
            filters,
            points,
            data,
        };
        check(&spec)?;
        let now = self.now();
        let policy =
            Policy { name: name.unwrap_or_else(|| before.name.clone()), spec, updated_at: now, ..before };
        let mut tx = Tx::new();
        tx.update_policy(&policy);
        tx.wake_fleet(fleet, now);
        self.commit_fleets(tx).await?;
        Ok(policy)
    }

    /// Removes a policy. Its deployments go on.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_policy(
        &self,
        actor: &Actor,
        fleet: &FleetName,
        name: &PolicyName,
    ) -> Result<(), Error> {
        self.need_unbound(actor)?;
        let policy = self.find_policy(fleet, name).await?;
        let mut tx = Tx::new();
        tx.delete_policy(&policy);
        self.commit_fleets(tx).await
    }

    async fn find_policy(&self, fleet: &FleetName, name: &PolicyName) -> Result<Policy, Error> {
        self.inner.store.find_fleet(fleet).await?.ok_or_else(|| no_fleet(fleet))?;
        let missing = || Error::NotFound(format!("fleet {fleet} has no policy {name}"));
        self.inner.store.find_policy(fleet, name).await?.ok_or_else(missing)
    }
}

/// What can only be seen of the whole.
fn check(spec: &PolicySpec) -> Result<(), Error> {
    if spec.maximum.is_some_and(|maximum| maximum < spec.minimum) {
        return Err(Invalid::new("maximum", "must not be less than minimum").into());
    }
    match spec.kind {
        PolicyKind::Coordinates if spec.points.is_empty() => {
            Err(Invalid::new("data", "must hold latitude and longitude, or coordinates, for this type")
                .into())
        }
        PolicyKind::Location | PolicyKind::Tag if !spec.points.is_empty() => {
            Err(Invalid::new("data", "must hold filters for this type").into())
        }
        _ => Ok(()),
    }
}
