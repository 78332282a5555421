//! `deployment_events`: the append-only history of each deployment.

use spawnpoint_model::{DeploymentId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// Something that happened to a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentEvent {
    /// Rises within a deployment.
    pub seq: i64,
    /// The deployment.
    pub deployment: DeploymentId,
    /// When.
    pub at: Timestamp,
    /// A short word.
    pub kind: String,
    /// JSON.
    pub detail: String,
}

impl Tx {
    /// Appends an event; `detail` is JSON.
    pub fn append_event(&mut self, id: DeploymentId, at: Timestamp, kind: &str, detail: &str) {
        let sql = "insert into deployment_events (deployment_id, at, kind, detail) values ($1, $2, $3, $4)";
        let missing = Conflict::Missing { what: "deployment", key: id.to_string() };
        self.must_refer(sql, args![id, at, kind, detail], missing.clone(), missing);
    }
}

impl Store {
    /// The newest event of one of these kinds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn last_event(
        &self,
        id: DeploymentId,
        kinds: [&str; 2],
    ) -> Result<Option<DeploymentEvent>, StoreError> {
        let sql = "select seq, deployment_id, at, kind, detail from deployment_events \
                   where deployment_id = $1 and (kind = $2 or kind = $3) order by seq desc limit 1";
        self.first(Query::new(sql, args![id, kinds[0], kinds[1]]), event).await
    }

    /// A deployment's history, oldest first; if there is more than `limit`, the end of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events(&self, id: DeploymentId, limit: u32) -> Result<Vec<DeploymentEvent>, StoreError> {
        let sql = "select seq, deployment_id, at, kind, detail from deployment_events \
                   where deployment_id = $1 order by seq desc limit $2";
        let mut newest_first = self.all(Query::new(sql, args![id, limit]), event).await?;
        newest_first.reverse();
        Ok(newest_first)
    }

    /// How many events of a kind a deployment's history holds.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_events(&self, id: DeploymentId, kind: &str) -> Result<u64, StoreError> {
        let sql = "select count(*) from deployment_events where deployment_id = $1 and kind = $2";
        self.count(Query::new(sql, args![id, kind])).await
    }
}

fn event(row: &Row) -> Result<DeploymentEvent, StoreError> {
    Ok(DeploymentEvent {
        seq: row.int(0)?,
        deployment: row.deployment_id(1)?,
        at: row.time(2)?,
        kind: row.text(3)?.to_owned(),
        detail: row.text(4)?.to_owned(),
    })
}
