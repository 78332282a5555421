//! `log_uploads`: logs of ended containers on their way into a storage.
//!
//! A row stands for a file in the spool directory of one control plane (its `node`), until the log has arrived or was given
//! up. Afterwards it says where the log is, or why it is not there.

use spawnpoint_model::{DeploymentId, StorageName, Timestamp};

use crate::error::StoreError;
use crate::sql::{Query, Row, args};
use crate::store::Store;
use crate::tx::Tx;

/// Whose log it is. A deployment has at most one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// Of the last container.
    Container,
    /// Of a container before it, which ended by itself and was replaced.
    Crash,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    /// To be sent (again).
    Pending,
    /// Arrived.
    Done,
    /// Given up.
    Failed,
}

/// A log on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogUpload {
    /// Whose.
    pub deployment: DeploymentId,
    /// Of which of its containers.
    pub kind: LogKind,
    /// The attempt whose container it was.
    pub attempt: u32,
    /// Where to; `None` = there is no such storage (any more).
    pub storage: Option<StorageName>,
    /// Its key in the bucket.
    pub key: String,
    /// The control plane that has the file.
    pub node: String,
    /// The file's name.
    pub spool: String,
    /// How long it is.
    pub bytes: i64,
    /// What became of it.
    pub state: UploadState,
    /// Tries so far.
    pub attempts: u32,
    /// Not tried again before.
    pub next_at: Timestamp,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it arrived or was given up.
    pub ended_at: Option<Timestamp>,
}

/// How the rows are picked, as [`upload`] decodes them.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "select deployment_id, kind, attempt, storage, object_key, node, spool, bytes, state, attempts, next_at, \
             last_error, created_at, ended_at from log_uploads ",
            $rest
        )
    };
}

impl LogKind {
    /// The word in the column.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Crash => "crash",
        }
    }
}

impl UploadState {
    /// The word in the column.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Tx {
    /// Writes an upload in place of an earlier one of the same kind.
    pub fn put_upload(&mut self, upload: &LogUpload) {
        let sql = "insert into log_uploads (deployment_id, kind, attempt, storage, object_key, node, spool, bytes, \
                   state, attempts, next_at, last_error, created_at, ended_at) \
                   values ($1, $2, $3, (select name from endpoint_storages where name = $4), $5, $6, $7, $8, $9, $10, \
                   $11, $12, $13, $14) \
                   on conflict (deployment_id, kind) do update set attempt = excluded.attempt, \
                   storage = excluded.storage, object_key = excluded.object_key, node = excluded.node, \
                   spool = excluded.spool, bytes = excluded.bytes, state = excluded.state, \
                   attempts = excluded.attempts, next_at = excluded.next_at, last_error = excluded.last_error, \
                   created_at = excluded.created_at, ended_at = excluded.ended_at";
        let args = args![
            upload.deployment,
            upload.kind.word(),
            upload.attempt,
            upload.storage.as_ref(),
            upload.key.as_str(),
            upload.node.as_str(),
            upload.spool.as_str(),
            upload.bytes,
            upload.state.word(),
            upload.attempts,
            upload.next_at,
            upload.last_error.as_deref(),
            upload.created_at,
            upload.ended_at,
        ];
        self.run(sql, args);
    }

    /// It arrived. Nothing happens if the row is of another file by now.
    pub fn upload_done(&mut self, upload: &LogUpload, now: Timestamp) {
        let sql = "update log_uploads set state = 'done', attempts = attempts + 1, last_error = null, ended_at = $4 \
                   where deployment_id = $1 and kind = $2 and spool = $3 and state = 'pending'";
        self.run(sql, args![upload.deployment, upload.kind.word(), upload.spool.as_str(), now]);
    }

    /// A try failed; another follows.
    pub fn upload_postponed(&mut self, upload: &LogUpload, next_at: Timestamp, error: &str) {
        let sql = "update log_uploads set attempts = attempts + 1, next_at = $4, last_error = $5 \
                   where deployment_id = $1 and kind = $2 and spool = $3 and state = 'pending'";
        let args = args![upload.deployment, upload.kind.word(), upload.spool.as_str(), next_at, error];
        self.run(sql, args);
    }

    /// It was given up.
    pub fn upload_failed(&mut self, upload: &LogUpload, now: Timestamp, error: &str) {
        let sql = "update log_uploads set state = 'failed', attempts = attempts + 1, ended_at = $4, last_error = $5 \
                   where deployment_id = $1 and kind = $2 and spool = $3 and state = 'pending'";
        let args = args![upload.deployment, upload.kind.word(), upload.spool.as_str(), now, error];
        self.run(sql, args);
    }

    /// Everything that waits for this storage may be tried now: it was changed.
    pub fn hurry_uploads(&mut self, storage: &StorageName, now: Timestamp) {
        let sql =
            "update log_uploads set next_at = $2 where storage = $1 and state = 'pending' and next_at > $2";
        self.run(sql, args![storage, now]);
    }

    /// Forgets the uploads that have ended, of deployments that are forgotten.
    pub fn purge_uploads(&mut self) {
        let sql = "delete from log_uploads where state <> 'pending' and \
                   not exists (select 1 from deployments d where d.id = log_uploads.deployment_id)";
        self.run(sql, args![]);
    }
}

impl Store {
    /// The upload of a deployment's log.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn find_upload(
        &self,
        deployment: DeploymentId,
        kind: LogKind,
    ) -> Result<Option<LogUpload>, StoreError> {
        let sql = select!("where deployment_id = $1 and kind = $2");
        self.first(Query::new(sql, args![deployment, kind.word()]), upload).await
    }

    /// Uploads of this node that can be tried at `now`, the longest waiting first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn due_uploads(
        &self,
        node: &str,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<LogUpload>, StoreError> {
        let sql =
            select!("where state = 'pending' and node = $1 and next_at <= $2 order by next_at limit $3");
        self.all(Query::new(sql, args![node, now, limit]), upload).await
    }

    /// Pending uploads of any node that were written before `before`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn uploads_pending_since(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<LogUpload>, StoreError> {
        let sql = select!("where state = 'pending' and created_at < $1 order by created_at limit $2");
        self.all(Query::new(sql, args![before, limit]), upload).await
    }

    /// The names of the files that pending uploads of a node wait for.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn spools_of(&self, node: &str) -> Result<Vec<String>, StoreError> {
        let sql = "select spool from log_uploads where state = 'pending' and node = $1";
        self.all(Query::new(sql, args![node]), |row| Ok(row.text(0)?.to_owned())).await
    }

    /// How many uploads are pending.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_pending_uploads(&self) -> Result<u64, StoreError> {
        self.count(Query::new("select count(*) from log_uploads where state = 'pending'", args![])).await
    }
}

fn upload(row: &Row) -> Result<LogUpload, StoreError> {
    let kind =
        |word: &str| [LogKind::Container, LogKind::Crash].into_iter().find(|k| k.word() == word).ok_or(());
    let state = |word: &str| {
        let all = [UploadState::Pending, UploadState::Done, UploadState::Failed];
        all.into_iter().find(|s| s.word() == word).ok_or(())
    };
    let storage = row.opt_text(3)?.map(StorageName::parse).transpose();
    Ok(LogUpload {
        deployment: row.deployment_id(0)?,
        kind: row.parsed(1, kind)?,
        attempt: row.number(2)?,
        storage: storage.map_err(|_| StoreError::Corrupt("a log upload names no storage".into()))?,
        key: row.text(4)?.to_owned(),
        node: row.text(5)?.to_owned(),
        spool: row.text(6)?.to_owned(),
        bytes: row.int(7)?,
        state: row.parsed(8, state)?,
        attempts: row.number(9)?,
        next_at: row.time(10)?,
        last_error: row.opt_text(11)?.map(str::to_owned),
        created_at: row.time(12)?,
        ended_at: row.opt_time(13)?,
    })
}
