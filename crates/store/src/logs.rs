//! `deployment_logs`: the end of each attempt's log, kept when its container is removed. What the pieces look like is
//! the engine's business.

use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{DeploymentId, Timestamp};

use crate::error::{Conflict, StoreError};
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// The log of an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLog {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its attempt.
    pub attempt: u32,
    /// When it was kept.
    pub at: Timestamp,
    /// How the process ended; `None` = it was ended by force.
    pub exit: Option<Exit>,
    /// It ended by itself.
    pub crashed: bool,
    /// Bytes of the log, as it is shown.
    pub bytes: u64,
    /// There was more of it before.
    pub truncated: bool,
    /// The log, packed.
    pub pieces: Vec<u8>,
}

/// How much of the store a kept log takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSize {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Its attempt.
    pub attempt: u32,
    /// What it takes.
    pub stored_bytes: u64,
}

const COLUMNS: &str = "deployment_id, attempt, at, exit, crashed, bytes, truncated, pieces";

impl Tx {
    /// Keeps an attempt's log in place of what was kept of it before; of the attempts before it, the newest alone stays.
    /// That it ended by itself is not forgotten if somebody later knows less. [`Conflict::Missing`] without its deployment.
    pub fn keep_log(&mut self, log: &KeptLog) {
        let sql = "insert into deployment_logs \
                   (deployment_id, attempt, at, exit, crashed, bytes, truncated, stored_bytes, pieces) \
                   values ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
                   on conflict (deployment_id, attempt) do update set at = excluded.at, \
                   exit = coalesce(excluded.exit, deployment_logs.exit), \
                   crashed = case when deployment_logs.crashed = 1 then 1 else excluded.crashed end, \
                   bytes = excluded.bytes, truncated = excluded.truncated, \
                   stored_bytes = excluded.stored_bytes, pieces = excluded.pieces";
        let missing = Conflict::Missing { what: "deployment", key: log.deployment.to_string() };
        let exit = log.exit.map(|exit| self.json(&exit)).unwrap_or(crate::sql::Value::Null);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let args = args![
            log.deployment,
            log.attempt,
            log.at,
            exit,
            log.crashed,
            signed(log.bytes),
            log.truncated,
            signed(log.pieces.len() as u64),
            log.pieces.as_slice(),
        ];
        self.must_refer(sql, args, missing.clone(), missing);
        let older = "delete from deployment_logs where deployment_id = $1 and attempt < \
                     (select max(attempt) from deployment_logs where deployment_id = $1 and attempt < $2)";
        self.run(older, args![log.deployment, log.attempt]);
    }

    /// Forgets a kept log.
    pub fn drop_log(&mut self, deployment: DeploymentId, attempt: u32) {
        let sql = "delete from deployment_logs where deployment_id = $1 and attempt = $2";
        self.run(sql, args![deployment, attempt]);
    }
}

impl Store {
    /// The kept logs of a deployment, the newest attempt first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn kept_logs(&self, id: DeploymentId) -> Result<Vec<KeptLog>, StoreError> {
        let sql =
            format!("select {COLUMNS} from deployment_logs where deployment_id = $1 order by attempt desc");
        self.all(Query::new(sql, args![id]), kept_log).await
    }

    /// Bytes that all kept logs take.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn kept_log_bytes(&self) -> Result<u64, StoreError> {
        let sql = "select cast(coalesce(sum(stored_bytes), 0) as bigint) from deployment_logs";
        self.count(Query::new(sql, args![])).await
    }

    /// The kept logs that are to go first: those of ended deployments, the oldest before the others; then those of earlier
    /// attempts of deployments that live.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn oldest_kept_logs(&self, limit: u32) -> Result<Vec<LogSize>, StoreError> {
        let sql = "select l.deployment_id, l.attempt, l.stored_bytes from deployment_logs l \
                   join deployments d on d.id = l.deployment_id order by d.live, l.at limit $1";
        let decode = |row: &Row| {
            Ok(LogSize {
                deployment: row.deployment_id(0)?,
                attempt: row.number(1)?,
                stored_bytes: row.number(2)?,
            })
        };
        self.all(Query::new(sql, args![limit]), decode).await
    }
}

fn kept_log(row: &Row) -> Result<KeptLog, StoreError> {
    Ok(KeptLog {
        deployment: row.deployment_id(0)?,
        attempt: row.number(1)?,
        at: row.time(2)?,
        exit: row.opt_text(3)?.map(|_| row.json(3)).transpose()?,
        crashed: row.flag(4)?,
        bytes: row.number(5)?,
        truncated: row.flag(6)?,
        pieces: row.blob(7)?.to_vec(),
    })
}
