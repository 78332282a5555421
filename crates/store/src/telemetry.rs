//! `telemetry_requests`: which deployments are to be compared for whom, until the result was fetched often enough.

use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::{DeploymentId, Timestamp, TokenId};

use crate::error::StoreError;
use crate::sql::{Query, args};
use crate::store::Store;
use crate::tx::Tx;

/// A request for the order of deployments.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryRecord {
    /// Under which the result is fetched.
    pub key: String,
    /// Whose it is.
    pub token: TokenId,
    /// What is compared, in the order of the request.
    pub deployments: Vec<DeploymentId>,
    /// Where the players are; those whose position is not known are left out.
    pub players: Vec<GeoPoint>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

impl Tx {
    /// Keeps a request, and of its token's requests the newest `kept`.
    pub fn insert_telemetry(&mut self, record: &TelemetryRecord, kept: u32) {
        let TelemetryRecord { key, token, deployments, players, created_at, expires_at } = record;
        let insert = "insert into telemetry_requests (key, token, deployments, players, created_at, expires_at) \
                      values ($1, $2, $3, $4, $5, $6)";
        let (deployments, players) = (to_json(deployments), to_json(players));
        let args = args![
            key.as_str(),
            token.as_str(),
            deployments.as_str(),
            players.as_str(),
            *created_at,
            *expires_at
        ];
        self.run(insert, args);
        let trim = "delete from telemetry_requests where token = $1 and key not in \
                    (select key from telemetry_requests where token = $1 order by created_at desc, key limit $2)";
        self.run(trim, args![token.as_str(), kept]);
    }

    /// Forgets what is expired.
    pub fn purge_telemetry(&mut self, now: Timestamp) {
        self.run("delete from telemetry_requests where expires_at <= $1", args![now]);
    }
}

/// Ids and numbers always can be written.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Store {
    /// The request with this key, unless it is expired at `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_telemetry(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<TelemetryRecord>, StoreError> {
        let sql = "select key, token, deployments, players, created_at, expires_at from telemetry_requests \
                   where key = $1 and expires_at > $2";
        let decode = |row: &crate::sql::Row| {
            Ok(TelemetryRecord {
                key: row.text(0)?.to_owned(),
                token: TokenId::from(row.text(1)?),
                deployments: row.json(2)?,
                players: row.json(3)?,
                created_at: row.time(4)?,
                expires_at: row.time(5)?,
            })
        };
        self.first(Query::new(sql, args![key, now]), decode).await
    }
}
