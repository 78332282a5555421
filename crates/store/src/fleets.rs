//! Smart fleets: `fleets`, `fleet_policies`, `fleet_links`, and what has to be looked at (`fleet_units`: a policy and one of
//! the versions of its fleet), with the budgets of what they start (`fleet_budgets`).
//!
//! A unit is woken in the transaction of whatever may change what it does. Deployments are made in one transaction with
//! [`Tx::count_creation`], which refuses whoever decided by an older state of things, and [`Tx::spend_budget`].

use std::time::Duration;

use spawnpoint_model::fleet::{BURST, EVERY, Fleet, Link, Policy};
use spawnpoint_model::names::{AppName, FleetName, PolicyName, VersionName};
use spawnpoint_model::query::{Page, Paged};
use spawnpoint_model::{Deployment, PolicyId, RevisionId, Timestamp};

use crate::deployments::deployment;
use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, Value, args};
use crate::store::Store;
use crate::tx::Tx;

/// A policy and a version of its fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetUnit {
    /// The policy.
    pub policy: PolicyId,
    /// The fleet.
    pub fleet: FleetName,
    /// The application.
    pub app: AppName,
    /// The version.
    pub version: VersionName,
    /// Counts the deployments that were made for it.
    pub creations: i64,
    /// Counts what has happened to it.
    pub wakes: i64,
}

/// A deployment of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetMember {
    /// The deployment.
    pub deployment: Deployment,
    /// Free sockets; `None`: it has none.
    pub free: Option<u32>,
}

/// What [`policy`] decodes. The table is called `p`.
macro_rules! policies {
    ($rest:literal) => {
        concat!(
            "select p.id, p.fleet, p.name, p.spec, p.created_at, p.updated_at from fleet_policies p ",
            $rest
        )
    };
}

/// What [`unit()`] decodes.
macro_rules! unit_columns {
    () => {
        "u.policy, u.fleet, u.app, u.version, u.creations, u.wakes"
    };
}

fn no_fleet(name: &FleetName) -> Conflict {
    Conflict::Missing { what: "fleet", key: name.to_string() }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

impl Tx {
    /// A new fleet; [`Conflict::Exists`] if the name is in use.
    pub fn insert_fleet(&mut self, fleet: &Fleet) {
        let sql = "insert into fleets (name, enabled, created_at, updated_at) values ($1, $2, $3, $4)";
        let args = args![&fleet.name, fleet.enabled, fleet.created_at, fleet.updated_at];
        self.must(sql, args, Conflict::Exists { what: "fleet", key: fleet.name.to_string() });
    }

    /// Changes the fleet `name` into `fleet`, which may have another name; everything of it comes along.
    /// [`Conflict::Missing`], [`Conflict::Exists`].
    pub fn update_fleet(&mut self, name: &FleetName, fleet: &Fleet) {
        let present = "update fleets set enabled = $2, updated_at = $3 where name = $1";
        self.must(present, args![name, fleet.enabled, fleet.updated_at], no_fleet(name));
        if *name != fleet.name {
            let exists = Conflict::Exists { what: "fleet", key: fleet.name.to_string() };
            let rename = "update fleets set name = $2 where name = $1 \
                          and not exists (select 1 from fleets other where other.name = $2)";
            self.must(rename, args![name, &fleet.name], exists);
            let shown = "update deployments set fleet = $2 where fleet = $1 and policy in \
                         (select id from fleet_policies where fleet = $2)";
            self.run(shown, args![name, &fleet.name]);
        }
    }

    /// Removes a fleet with its policies and links; [`Conflict::Missing`].
    pub fn delete_fleet(&mut self, name: &FleetName) {
        self.must("delete from fleets where name = $1", args![name], no_fleet(name));
    }

    /// A new policy; [`Conflict::Exists`] if the name is in use in its fleet, [`Conflict::Missing`] if there is no such
    /// fleet.
    pub fn insert_policy(&mut self, policy: &Policy) {
        let sql = "insert into fleet_policies (id, fleet, name, spec, created_at, updated_at) \
                   values ($1, $2, $3, $4, $5, $6)";
        let spec = self.json(&policy.spec);
        let args = args![&policy.id, &policy.fleet, &policy.name, spec, policy.created_at, policy.updated_at];
        let exists = Conflict::Exists { what: "policy", key: policy.name.to_string() };
        self.must_refer(sql, args, exists, no_fleet(&policy.fleet));
        let units = "insert into fleet_units (policy, fleet, app, version, creations, wakes, due_at) \
                     select cast($1 as text), fleet, app, version, 0, 0, cast($3 as bigint) \
                     from fleet_links where fleet = $2";
        self.run(units, args![&policy.id, &policy.fleet, policy.updated_at]);
    }

    /// Changes a policy; [`Conflict::Missing`], [`Conflict::Exists`] for its new name.
    pub fn update_policy(&mut self, policy: &Policy) {
        let taken = "update fleet_policies set name = $2 where id = $1 and not exists \
                     (select 1 from fleet_policies other where other.fleet = $3 and other.name = $2 and other.id <> $1)";
        let exists = Conflict::Exists { what: "policy", key: policy.name.to_string() };
        self.must(taken, args![&policy.id, &policy.name, &policy.fleet], exists);
        let sql = "update fleet_policies set spec = $2, updated_at = $3 where id = $1";
        let spec = self.json(&policy.spec);
        let missing = Conflict::Missing { what: "policy", key: policy.name.to_string() };
        self.must(sql, args![&policy.id, spec, policy.updated_at], missing);
    }

    /// Removes a policy; [`Conflict::Missing`].
    pub fn delete_policy(&mut self, policy: &Policy) {
        let missing = Conflict::Missing { what: "policy", key: policy.name.to_string() };
        self.must("delete from fleet_policies where id = $1", args![&policy.id], missing);
    }

    /// Links a version to a fleet; one that is linked stays so. [`Conflict::Missing`] if there is no such fleet or version.
    pub fn insert_fleet_link(&mut self, link: &Link) {
        let Link { fleet, app, version, created_at } = link;
        let sql = "insert into fleet_links (fleet, app, version, created_at) values ($1, $2, $3, $4) \
                   on conflict (fleet, app, version) do update set created_at = fleet_links.created_at";
        let missing =
            Conflict::Missing { what: "fleet or version", key: format!("{fleet}, {app}/{version}") };
        self.must_refer(sql, args![fleet, app, version, *created_at], missing.clone(), missing);
        let units = "insert into fleet_units (policy, fleet, app, version, creations, wakes, due_at) \
                     select id, fleet, cast($2 as text), cast($3 as text), 0, 0, cast($4 as bigint) \
                     from fleet_policies where fleet = $1 on conflict (policy, app, version) do nothing";
        self.run(units, args![fleet, app, version, *created_at]);
    }

    /// Takes a version off a fleet; [`Conflict::Missing`] if it is not linked.
    pub fn delete_fleet_link(&mut self, fleet: &FleetName, app: &AppName, version: &VersionName) {
        let sql = "delete from fleet_links where fleet = $1 and app = $2 and version = $3";
        let missing = Conflict::Missing { what: "link", key: format!("{fleet}, {app}/{version}") };
        self.must(sql, args![fleet, app, version], missing);
    }

    /// Has all units looked at.
    pub fn wake_all_units(&mut self, now: Timestamp) {
        self.run("update fleet_units set wakes = wakes + 1, due_at = $1", args![now]);
    }

    /// Has the units of a fleet looked at.
    pub fn wake_fleet(&mut self, fleet: &FleetName, now: Timestamp) {
        let sql = "update fleet_units set wakes = wakes + 1, due_at = $2 where fleet = $1";
        self.run(sql, args![fleet, now]);
    }

    /// Has the units of an application's version looked at.
    pub fn wake_version(&mut self, app: &AppName, version: &VersionName, now: Timestamp) {
        let sql = "update fleet_units set wakes = wakes + 1, due_at = $3 where app = $1 and version = $2";
        self.run(sql, args![app, version, now]);
    }

    /// Has a unit looked at, if it is still there.
    pub fn wake_unit(&mut self, policy: &PolicyId, app: &AppName, version: &VersionName, now: Timestamp) {
        let sql = "update fleet_units set wakes = wakes + 1, due_at = $4 \
                   where policy = $1 and app = $2 and version = $3";
        self.run(sql, args![policy, app, version, now]);
    }

    /// Nothing more is to be done about a unit before `due_at`, unless it was woken since it was read.
    pub fn rest_unit(&mut self, unit: &FleetUnit, due_at: Option<Timestamp>) {
        let sql = "update fleet_units set due_at = $5, lease_owner = null, lease_until = null \
                   where policy = $1 and app = $2 and version = $3 and wakes = $4";
        self.run(sql, args![&unit.policy, &unit.app, &unit.version, unit.wakes, due_at]);
    }

    /// Counts a deployment that is made (or ended) for a unit; [`Conflict::Outdated`] if another was since it was read.
    pub fn count_creation(&mut self, unit: &FleetUnit) {
        let sql = "update fleet_units set creations = creations + 1 \
                   where policy = $1 and app = $2 and version = $3 and creations = $4";
        let key = format!("{} of {}/{}", unit.policy, unit.app, unit.version);
        let outdated = Conflict::Outdated { what: "fleet", key };
        self.must(sql, args![&unit.policy, &unit.app, &unit.version, unit.creations], outdated);
    }

    /// Takes a start from a revision's budget; [`Conflict::BudgetSpent`]. [`spawnpoint_model::fleet::Budget`] is the rule.
    pub fn spend_budget(&mut self, revision: &RevisionId, now: Timestamp) {
        let sql = "insert into fleet_budgets (revision, full_at) values ($1, cast($2 as bigint) + $3) \
                   on conflict (revision) do update set full_at = $3 + \
                   case when fleet_budgets.full_at > $2 then fleet_budgets.full_at else $2 end \
                   where fleet_budgets.full_at <= $4";
        let latest = now.plus(EVERY * (BURST - 1));
        let args = args![revision, now, micros(EVERY), latest];
        self.must(sql, args, Conflict::BudgetSpent(revision.clone()));
    }

    /// Gives a start back.
    pub fn refund_budget(&mut self, revision: &RevisionId) {
        let sql = "update fleet_budgets set full_at = full_at - $2 where revision = $1";
        self.run(sql, args![revision, micros(EVERY)]);
    }

    /// Forgets budgets that are full.
    pub fn purge_budgets(&mut self, now: Timestamp) {
        self.run("delete from fleet_budgets where full_at <= $1", args![now]);
    }
}

impl Store {
    /// A fleet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_fleet(&self, name: &FleetName) -> Result<Option<Fleet>, StoreError> {
        let sql = "select name, enabled, created_at, updated_at from fleets where name = $1";
        self.first(Query::new(sql, args![name]), fleet).await
    }

    /// One page of the fleets, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_fleets(&self, page: Page) -> Result<Paged<Fleet>, StoreError> {
        let total = Query::new("select count(*) from fleets", args![]);
        let sql = "select name, enabled, created_at, updated_at from fleets order by name limit $1 offset $2";
        self.page(total, Query::new(sql, args![]), page, fleet).await
    }

    /// A policy by its name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_policy(
        &self,
        fleet: &FleetName,
        name: &PolicyName,
    ) -> Result<Option<Policy>, StoreError> {
        let query = Query::new(policies!("where p.fleet = $1 and p.name = $2"), args![fleet, name]);
        self.first(query, policy).await
    }

    /// A policy whose fleet is enabled.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_active_policy(&self, id: &PolicyId) -> Result<Option<Policy>, StoreError> {
        let sql = policies!("join fleets f on f.name = p.fleet where p.id = $1 and f.enabled = 1");
        let found = self.first(Query::new(sql, args![id]), policy).await?;
        Ok(found.filter(|policy| policy.spec.enabled))
    }

    /// One page of the policies of a fleet, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_policies(&self, fleet: &FleetName, page: Page) -> Result<Paged<Policy>, StoreError> {
        let total = Query::new("select count(*) from fleet_policies where fleet = $1", args![fleet]);
        let sql = policies!("where p.fleet = $1 order by p.name limit $2 offset $3");
        self.page(total, Query::new(sql, args![fleet]), page, policy).await
    }

    /// One page of the links of a fleet, by application and version.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn list_fleet_links(&self, fleet: &FleetName, page: Page) -> Result<Paged<Link>, StoreError> {
        let total = Query::new("select count(*) from fleet_links where fleet = $1", args![fleet]);
        let sql = "select fleet, app, version, created_at from fleet_links where fleet = $1 \
                   order by app, version limit $2 offset $3";
        self.page(total, Query::new(sql, args![fleet]), page, link).await
    }

    /// A link.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_fleet_link(
        &self,
        fleet: &FleetName,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Option<Link>, StoreError> {
        let sql = "select fleet, app, version, created_at from fleet_links \
                   where fleet = $1 and app = $2 and version = $3";
        self.first(Query::new(sql, args![fleet, app, version]), link).await
    }

    /// A unit.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_unit(
        &self,
        policy: &PolicyId,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Option<FleetUnit>, StoreError> {
        let sql = concat!(
            "select ",
            unit_columns!(),
            " from fleet_units u where u.policy = $1 and u.app = $2 and u.version = $3"
        );
        self.first(Query::new(sql, args![policy, app, version]), unit).await
    }

    /// The units that something is to be done about at `now`, for one of several control planes, as
    /// [`Store::claim_due`](crate::Store::claim_due) does it for deployments.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn claim_units(
        &self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<FleetUnit>, StoreError> {
        const DUE: &str = concat!(
            "select ",
            unit_columns!(),
            " from fleet_units u where u.due_at <= $1 order by u.due_at limit $2"
        );
        const CLAIM: &str = concat!(
            "with due as (select c.policy, c.app, c.version from fleet_units c where c.due_at <= $2 \
               and (c.lease_until is null or c.lease_until <= $2 or c.lease_owner = $1) \
               order by c.due_at limit $4 for update skip locked) \
             update fleet_units u set lease_owner = $1, lease_until = $3 from due \
             where u.policy = due.policy and u.app = due.app and u.version = due.version returning ",
            unit_columns!()
        );
        if !self.dialect().is_shared() {
            return self.all(Query::new(DUE, args![now, limit]), unit).await;
        }
        self.all(Query::new(CLAIM, args![owner, now, lease_until, limit]), unit).await
    }

    /// When the next unit is due; `None` = none is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_unit_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(due_at) from fleet_units where due_at is not null";
        Ok(self.first(Query::new(sql, args![]), |row| row.opt_time(0)).await?.flatten())
    }

    /// The deployments of a policy's version that have not ended, failed ones among them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn fleet_members(
        &self,
        policy: &PolicyId,
        app: &AppName,
        version: &VersionName,
    ) -> Result<Vec<FleetMember>, StoreError> {
        let sql = "select d.id, d.generation, d.spec, d.state, d.available_sockets from deployments d \
                   where d.policy = $1 and d.live = 1 and d.app = $2 and d.version = $3";
        let decode = |row: &Row| {
            let free = row.opt_int(4)?.is_some().then(|| row.number(4)).transpose()?;
            Ok(FleetMember { deployment: deployment(row)?, free })
        };
        self.all(Query::new(sql, args![policy, app, version]), decode).await
    }

    /// The moment at which a revision's budget is full; `None` = it is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn budget_full_at(&self, revision: &RevisionId) -> Result<Option<Timestamp>, StoreError> {
        let query = Query::new("select full_at from fleet_budgets where revision = $1", args![revision]);
        self.first(query, |row| row.time(0)).await
    }

    /// How many fleets there are, and how many policies and links one of them has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_fleets(&self, fleet: &FleetName) -> Result<[u64; 3], StoreError> {
        let sql = "select (select count(*) from fleets), \
                   (select count(*) from fleet_policies where fleet = $1), \
                   (select count(*) from fleet_links where fleet = $1)";
        let decode = |row: &Row| Ok([row.number(0)?, row.number(1)?, row.number(2)?]);
        Ok(self.first(Query::new(sql, vec![Value::from(fleet)]), decode).await?.unwrap_or_default())
    }
}

fn fleet(row: &Row) -> Result<Fleet, StoreError> {
    Ok(Fleet {
        name: row.parsed(0, FleetName::parse)?,
        enabled: row.flag(1)?,
        created_at: row.time(2)?,
        updated_at: row.time(3)?,
    })
}

fn policy(row: &Row) -> Result<Policy, StoreError> {
    Ok(Policy {
        id: row.text(0)?.into(),
        fleet: row.parsed(1, FleetName::parse)?,
        name: row.parsed(2, PolicyName::parse)?,
        spec: row.json(3)?,
        created_at: row.time(4)?,
        updated_at: row.time(5)?,
    })
}

fn link(row: &Row) -> Result<Link, StoreError> {
    Ok(Link {
        fleet: row.parsed(0, FleetName::parse)?,
        app: row.parsed(1, AppName::parse)?,
        version: row.parsed(2, VersionName::parse)?,
        created_at: row.time(3)?,
    })
}

fn unit(row: &Row) -> Result<FleetUnit, StoreError> {
    Ok(FleetUnit {
        policy: row.text(0)?.into(),
        fleet: row.parsed(1, FleetName::parse)?,
        app: row.parsed(2, AppName::parse)?,
        version: row.parsed(3, VersionName::parse)?,
        creations: row.int(4)?,
        wakes: row.int(5)?,
    })
}
