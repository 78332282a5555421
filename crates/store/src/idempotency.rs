//! `idempotency`: which deployment a request with an idempotency key made.

use spawnpoint_model::{DeploymentId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, args};
use crate::store::Store;
use crate::tx::Tx;

/// A request that was answered with a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRequest {
    /// The token's id and the key the client sent.
    pub key: String,
    /// Hash of the body, to notice a key used twice for different things.
    pub body_hash: Vec<u8>,
    /// What it made.
    pub deployment: DeploymentId,
    /// When it may be forgotten.
    pub expires_at: Timestamp,
}

impl Tx {
    /// Remembers a request; [`Conflict::KeyUsed`] if its key is remembered and not expired at `now`.
    pub fn remember_request(&mut self, request: &RememberedRequest, now: Timestamp) {
        let sql = "insert into idempotency (key, body_hash, deployment_id, expires_at) values ($1, $2, $3, $4) \
                   on conflict (key) do update set body_hash = excluded.body_hash, \
                   deployment_id = excluded.deployment_id, expires_at = excluded.expires_at \
                   where idempotency.expires_at <= $5";
        let RememberedRequest { key, body_hash, deployment, expires_at } = request;
        let args = args![key.as_str(), body_hash.as_slice(), *deployment, *expires_at, now];
        self.must(sql, args, Conflict::KeyUsed(key.clone()));
    }

    /// Forgets what is expired.
    pub fn purge_requests(&mut self, now: Timestamp) {
        self.run("delete from idempotency where expires_at <= $1", args![now]);
    }
}

impl Store {
    /// The request with this key, unless it is expired at `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_request(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<RememberedRequest>, StoreError> {
        let sql = "select key, body_hash, deployment_id, expires_at from idempotency \
                   where key = $1 and expires_at > $2";
        let decode = |row: &crate::sql::Row| {
            Ok(RememberedRequest {
                key: row.text(0)?.to_owned(),
                body_hash: row.blob(1)?.to_vec(),
                deployment: row.deployment_id(2)?,
                expires_at: row.time(3)?,
            })
        };
        self.first(Query::new(sql, args![key, now]), decode).await
    }
}
