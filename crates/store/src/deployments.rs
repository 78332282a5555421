//! `deployments` and `deployment_tags`: one row a deployment.
//!
//! The truth of a row is in `spec` and `state` (JSON); the other columns repeat what queries need and are written
//! together with it, here and nowhere else. Every save compares the generation, so two control planes cannot
//! overwrite each other.

use std::sync::Arc;

use spawnpoint_model::{AppName, Deployment, DeploymentId, HostId, Phase, Timestamp, VersionName};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// What [`deployment`] decodes, and how the rows are picked. The table is called `d`.
macro_rules! select {
    ($rest:literal) => {
        concat!("select d.id, d.generation, d.spec, d.state from deployments d ", $rest)
    };
}

impl Tx {
    /// A new row. [`Conflict::Exists`] if the id is in use, [`Conflict::Missing`] if its revision is not stored (it
    /// was purged since the version was read: read it again).
    pub fn insert_deployment(&mut self, deployment: &Deployment, due_at: Option<Timestamp>) {
        let sql = "insert into deployments (id, generation, spec, state, app, version, revision, created_at, phase, \
                   status, live, joinable, host, due_at, terminated_at, available_sockets, fleet, policy) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";
        let Deployment { id, generation, spec, state } = deployment;
        let args = args![
            *id,
            *generation,
            self.json(&**spec),
            self.json(state),
            &spec.app,
            &spec.version,
            &spec.revision,
            spec.created_at,
            state.phase.word(),
            deployment.status().as_str(),
            is_live(deployment),
            state.joinable,
            state.host.as_ref(),
            due_at,
            terminated_at(deployment),
            spec.sockets(),
            spec.origin.as_ref().map(|origin| origin.fleet.as_str()),
            spec.origin.as_ref().map(|origin| origin.policy.as_str()),
        ];
        let exists = Conflict::Exists { what: "deployment", key: id.to_string() };
        let dangling = Conflict::Missing { what: "revision", key: spec.revision.to_string() };
        self.must_refer(sql, args, exists, dangling);
        self.add_tags(deployment);
    }

    /// Writes a changed row back. The row carries its **new** generation; [`Conflict::Stale`] unless the stored one
    /// is its predecessor. The spec is not written: it never changes. Gives up the lease, if there is one.
    pub fn save_deployment(&mut self, deployment: &Deployment, due_at: Option<Timestamp>) {
        let sql = "update deployments set generation = $2, state = $4, phase = $5, status = $6, live = $7, \
                   joinable = $8, host = $9, due_at = $10, terminated_at = $11, lease_owner = null, lease_until = null \
                   where id = $1 and generation = $3";
        let Deployment { id, generation, spec: _, state } = deployment;
        let args = args![
            *id,
            *generation,
            generation.saturating_sub(1),
            self.json(state),
            state.phase.word(),
            deployment.status().as_str(),
            is_live(deployment),
            state.joinable,
            state.host.as_ref(),
            due_at,
            terminated_at(deployment),
        ];
        self.must(sql, args, Conflict::Stale(*id));
        self.drop_other_tags(deployment);
        self.add_tags(deployment);
    }

    /// [`Tx::save_deployment`] for whoever knows the row that is stored: host, tags and liveness are written only if they
    /// have changed. Most steps change none of them, and then nothing but the row and one index is touched.
    pub fn save_step(&mut self, before: &Deployment, deployment: &Deployment, due_at: Option<Timestamp>) {
        let is_small = before.state.host == deployment.state.host
            && before.state.tags == deployment.state.tags
            && is_live(before) == is_live(deployment);
        if !is_small {
            return self.save_deployment(deployment, due_at);
        }
        let sql = "update deployments set generation = $2, state = $4, phase = $5, status = $6, joinable = $7, \
                   due_at = $8, lease_owner = null, lease_until = null where id = $1 and generation = $3";
        let Deployment { id, generation, spec: _, state } = deployment;
        let args = args![
            *id,
            *generation,
            generation.saturating_sub(1),
            self.json(state),
            state.phase.word(),
            deployment.status().as_str(),
            state.joinable,
            due_at,
        ];
        self.must(sql, args, Conflict::Stale(*id));
    }

    /// Forgets an ended deployment with its tags and history. One that is live is left alone.
    pub fn delete_deployment(&mut self, id: DeploymentId) {
        self.run("delete from deployments where id = $1 and live = 0", args![id]);
    }

    fn add_tags(&mut self, deployment: &Deployment) {
        let sql = "insert into deployment_tags (deployment_id, name) values ($1, $2) \
                   on conflict (deployment_id, name) do nothing";
        for tag in &deployment.state.tags {
            self.run(sql, args![deployment.id, tag.name.as_str()]);
        }
    }

    /// Removes the stored tags that the row does not have any more. Most saves change no tag, and then this and
    /// [`Tx::add_tags`] write nothing.
    fn drop_other_tags(&mut self, deployment: &Deployment) {
        let mut args = args![deployment.id];
        args.extend(deployment.state.tags.iter().map(|tag| tag.name.as_str().into()));
        let kept: Vec<_> = (2..=args.len()).map(|n| format!("${n}")).collect();
        if kept.is_empty() {
            self.run("delete from deployment_tags where deployment_id = $1", args);
        } else {
            let kept = kept.join(", ");
            let sql =
                format!("delete from deployment_tags where deployment_id = $1 and name not in ({kept})");
            self.run(sql, args);
        }
    }
}

impl Store {
    /// A deployment, ended or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        self.first(Query::new(select!("where d.id = $1"), args![id]), deployment).await
    }

    /// Every deployment that has not ended, oldest first: what a control plane loads when it starts.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn live_deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        let query = Query::new(select!("where d.live = 1 order by d.created_at, d.id"), args![]);
        self.all(query, deployment).await
    }

    /// The deployments that something is to be done about at `now`, the longest waiting first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn due_deployments(&self, now: Timestamp, limit: u32) -> Result<Vec<Deployment>, StoreError> {
        let sql = select!("where d.due_at <= $1 order by d.due_at limit $2");
        self.all(Query::new(sql, args![now, limit]), deployment).await
    }

    /// The same, for one of several control planes: takes a lease on each row, and leaves out those that another
    /// owner has leased. Rows of one's own come again, so the caller must know what it has in hand. Where the
    /// database is not shared (SQLite), this is [`Store::due_deployments`].
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn claim_due(
        &self,
        owner: &str,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Deployment>, StoreError> {
        if !self.dialect().is_shared() {
            return self.due_deployments(now, limit).await;
        }
        let sql = "with due as (select c.id from deployments c where c.due_at <= $2 \
                     and (c.lease_until is null or c.lease_until <= $2 or c.lease_owner = $1) \
                     order by c.due_at limit $4 for update skip locked) \
                   update deployments d set lease_owner = $1, lease_until = $3 from due where d.id = due.id \
                   returning d.id, d.generation, d.spec, d.state";
        self.all(Query::new(sql, args![owner, now, lease_until, limit]), deployment).await
    }

    /// When the next deployment is due; `None` = none is.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let sql = "select min(due_at) from deployments where due_at is not null";
        Ok(self.first(Query::new(sql, args![]), |row| row.opt_time(0)).await?.flatten())
    }

    /// The live deployments whose row names a host.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployments_on_host(&self, host: &HostId) -> Result<Vec<Deployment>, StoreError> {
        let query = Query::new(select!("where d.live = 1 and d.host = $1 order by d.id"), args![host]);
        self.all(query, deployment).await
    }

    /// How many live deployments are in each phase, by [`Phase::word`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_by_phase(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let sql = "select phase, count(*) from deployments where live = 1 group by phase order by phase";
        self.all(Query::new(sql, args![]), |row| Ok((row.text(0)?.to_owned(), row.number(1)?))).await
    }

    /// How many live deployments an application, or one of its versions, has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_live(&self, app: &AppName, version: Option<&VersionName>) -> Result<u64, StoreError> {
        let query = match version {
            None => Query::new("select count(*) from deployments where live = 1 and app = $1", args![app]),
            Some(version) => Query::new(
                "select count(*) from deployments where live = 1 and app = $1 and version = $2",
                args![app, version],
            ),
        };
        self.count(query).await
    }

    /// Deployments that ended before `before`, the earliest first: what retention may forget.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn terminated_before(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<DeploymentId>, StoreError> {
        let sql = "select id from deployments where terminated_at < $1 order by terminated_at limit $2";
        self.all(Query::new(sql, args![before, limit]), |row| row.deployment_id(0)).await
    }
}

/// Decodes the columns of `select!`.
pub(crate) fn deployment(row: &Row) -> Result<Deployment, StoreError> {
    Ok(Deployment {
        id: row.deployment_id(0)?,
        generation: row.int(1)?,
        spec: Arc::new(row.json(2)?),
        state: row.json(3)?,
    })
}

fn is_live(deployment: &Deployment) -> bool {
    !matches!(deployment.state.phase, Phase::Terminated(_))
}

fn terminated_at(deployment: &Deployment) -> Option<Timestamp> {
    let state = &deployment.state;
    (!is_live(deployment)).then(|| state.ended_at.unwrap_or(state.phase_since))
}
