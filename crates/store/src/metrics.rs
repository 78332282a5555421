//! `metric_samples`: what deployments used, in packed spans that only the engine can read.

use spawnpoint_model::{DeploymentId, Timestamp};

use crate::error::StoreError;
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// The points of one deployment over one span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricChunk {
    /// The deployment.
    pub deployment: DeploymentId,
    /// How coarse the points are: 0 as sampled, then coarser.
    pub tier: u32,
    /// Where the span begins.
    pub start_at: Timestamp,
    /// The points, packed.
    pub points: Vec<u8>,
}

impl Tx {
    /// Keeps a span, in place of what was kept of it unless that is longer: of two control planes that look at the same
    /// host, one may have missed something. Nothing happens if the deployment is not stored any more.
    pub fn put_metrics(&mut self, chunk: &MetricChunk) {
        let sql = "insert into metric_samples (deployment_id, tier, start_at, points) \
                   select id, $2, $3, $4 from deployments where id = $1 \
                   on conflict (deployment_id, tier, start_at) do update set points = excluded.points \
                   where length(excluded.points) >= length(metric_samples.points)";
        let MetricChunk { deployment, tier, start_at, points } = chunk;
        self.run(sql, args![*deployment, *tier, *start_at, points.as_slice()]);
    }

    /// Deletes a deployment's spans of a tier that begin from `from` on, before `to`.
    pub fn delete_metrics(&mut self, id: DeploymentId, tier: u32, from: Timestamp, to: Timestamp) {
        let sql = "delete from metric_samples \
                   where deployment_id = $1 and tier = $2 and start_at >= $3 and start_at < $4";
        self.run(sql, args![id, tier, from, to]);
    }

    /// Deletes all spans of a tier that begin before `before`.
    pub fn purge_metrics(&mut self, tier: u32, before: Timestamp) {
        self.run("delete from metric_samples where tier = $1 and start_at < $2", args![tier, before]);
    }
}

impl Store {
    /// Everything that is kept of a deployment, in the order of time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn metrics(&self, id: DeploymentId) -> Result<Vec<MetricChunk>, StoreError> {
        let sql = "select deployment_id, tier, start_at, points from metric_samples \
                   where deployment_id = $1 order by start_at, tier desc";
        self.all(Query::new(sql, args![id]), decode).await
    }

    /// A deployment's spans of a tier that begin from `from` on, before `to`, in the order of time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn metrics_between(
        &self,
        id: DeploymentId,
        tier: u32,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<MetricChunk>, StoreError> {
        let sql = "select deployment_id, tier, start_at, points from metric_samples \
                   where deployment_id = $1 and tier = $2 and start_at >= $3 and start_at < $4 order by start_at";
        self.all(Query::new(sql, args![id, tier, from, to]), decode).await
    }

    /// Deployments with spans of a tier that begin before `before`, at most `limit`, each with the oldest of them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn aged_metrics(
        &self,
        tier: u32,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(DeploymentId, Timestamp)>, StoreError> {
        let sql = "select deployment_id, min(start_at) from metric_samples where tier = $1 and start_at < $2 \
                   group by deployment_id order by deployment_id limit $3";
        let decode = |row: &Row| Ok((row.deployment_id(0)?, row.time(1)?));
        self.all(Query::new(sql, args![tier, before, limit]), decode).await
    }
}

fn decode(row: &Row) -> Result<MetricChunk, StoreError> {
    Ok(MetricChunk {
        deployment: row.deployment_id(0)?,
        tier: row.number(1)?,
        start_at: row.time(2)?,
        points: row.blob(3)?.to_vec(),
    })
}
