//! `deployment_events`: the append-only history of each deployment.

use spawnpoint_model::{DeploymentId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, args};
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
    /// A deployment's history, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events(&self, id: DeploymentId) -> Result<Vec<DeploymentEvent>, StoreError> {
        let sql = "select seq, deployment_id, at, kind, detail from deployment_events \
                   where deployment_id = $1 order by seq";
        let decode = |row: &crate::sql::Row| {
            Ok(DeploymentEvent {
                seq: row.int(0)?,
                deployment: row.deployment_id(1)?,
                at: row.time(2)?,
                kind: row.text(3)?.to_owned(),
                detail: row.text(4)?.to_owned(),
            })
        };
        self.all(Query::new(sql, args![id]), decode).await
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
