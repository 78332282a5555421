//! The writer thread: the only one that changes the file.
//!
//! It takes everything that is queued, up to [`GROUP_MAX`] transactions, runs it as **one** SQLite transaction and
//! pays for one `fsync`. If anything in the group is refused, the group is rolled back and run again with a savepoint
//! around each transaction, so that the refused ones leave nothing and the others lose nothing but time.
//!
//! ```text
//!   idle ─▶ collect ─▶ all at once ──ok──▶ COMMIT ─▶ answer all ─▶ checkpoint if due ─▶ idle
//!                          │ refused                    ▲
//!                          └─▶ roll back ─▶ one by one ─┘   (IO error: all answered Unavailable, reopen, go on)
//! ```

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{Mode, connect, failure, run};
use crate::error::StoreError;
use crate::sql::Stmt;

/// Transactions in one group, at most.
pub const GROUP_MAX: usize = 256;
/// Transactions that may wait; beyond that, callers wait to queue theirs.
const QUEUE: usize = 1024;
/// Pages in the log from which on it is copied into the main file when nobody waits (4 KiB each).
const CHECKPOINT_PAGES: i32 = 4_000;
/// Pages in the log from which on it is copied even though somebody waits.
const CHECKPOINT_PAGES_MAX: i32 = 16_000;

/// A transaction that waits, and who waits for it.
#[derive(Debug)]
struct Job {
    stmts: Vec<Stmt>,
    answer: oneshot::Sender<Result<(), StoreError>>,
}

/// The handle of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread on an open connection. The thread holds `lock` until its last write is done.
    pub(crate) fn start(path: PathBuf, connection: Connection, lock: File) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let mut work = Work { path, connection: None, log_pages: Arc::default(), _lock: lock };
        work.adopt(connection)?;
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || work.run(receiver));
        let thread = thread.map_err(|e| StoreError::Unavailable(format!("no thread for the writer: {e}")))?;
        Ok(Self { queue: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues the statements and waits for the answer.
    pub(crate) async fn commit(&self, stmts: Vec<Stmt>) -> Result<(), StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let queue = self.queue.lock().clone().ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        queue.send(Job { stmts, answer }).await.map_err(|_| closed())?;
        drop(queue);
        answered.await.map_err(|_| StoreError::OutcomeUnknown)?
    }

    /// Lets the thread finish what is queued, and waits for its end.
    pub(crate) fn stop(&self) {
        self.queue.lock().take();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer thread ended by a panic");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread owns.
struct Work {
    path: PathBuf,
    /// `None` after an IO error: the next group opens a new one.
    connection: Option<Connection>,
    /// Pages in the write-ahead log, as SQLite told at the last commit.
    log_pages: Arc<AtomicI32>,
    _lock: File,
}

impl Work {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut jobs = vec![first];
            while jobs.len() < GROUP_MAX
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            let results = self.group(&jobs);
            for (job, result) in jobs.into_iter().zip(results) {
                // Nobody waits any more: the transaction happened all the same.
                let _ = job.answer.send(result);
            }
            self.checkpoint_if_due(queue.is_empty());
        }
    }

    /// Runs a group and gives one result a job.
    fn group(&mut self, jobs: &[Job]) -> Vec<Result<(), StoreError>> {
        let result = self.connection().and_then(|connection| match all_at_once(connection, jobs) {
            Ok(()) => Ok(vec![Ok(()); jobs.len()]),
            Err(e) if is_fatal(&e) => Err(e),
            Err(e) if jobs.len() == 1 => Ok(vec![Err(e)]),
            Err(_) => one_by_one(connection, jobs),
        });
        result.unwrap_or_else(|e| {
            tracing::warn!(error = %e, transactions = jobs.len(), "the database did not take a group of transactions");
            self.connection = None;
            vec![Err(e); jobs.len()]
        })
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        if self.connection.is_none() {
            self.adopt(connect(&self.path, Mode::Write)?)?;
        }
        self.connection.as_ref().ok_or_else(|| StoreError::Internal("the writer has no connection".into()))
    }

    /// Makes a connection the writer's: SQLite's own checkpoints, which would delay the commit that they follow, are
    /// replaced by ours.
    fn adopt(&mut self, mut connection: Connection) -> Result<(), StoreError> {
        let pages = Arc::clone(&self.log_pages);
        let hook = move |_: &mut rusqlite::hooks::Wal, log_pages: i32| {
            pages.store(log_pages, Ordering::Relaxed);
            Ok(())
        };
        connection.wal_hook(Some(hook)).map_err(|e| failure(&e))?;
        self.connection = Some(connection);
        Ok(())
    }

    /// Copies the log into the main file, after the answers are out. The log's file keeps its size: on a full disk
    /// that is the room in which stops can still be written.
    fn checkpoint_if_due(&self, idle: bool) {
        let limit = if idle { CHECKPOINT_PAGES } else { CHECKPOINT_PAGES_MAX };
        if self.log_pages.load(Ordering::Relaxed) < limit {
            return;
        }
        let Some(connection) = &self.connection else { return };
        // Passive: waits for nobody. What readers still need is copied the next time.
        if let Err(error) = connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())) {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }
}

/// Errors after which nothing of the group can be rescued.
const fn is_fatal(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_) | StoreError::Corrupt(_))
}

fn execute(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(|e| failure(&e))?;
    statement.raw_execute().map(drop).map_err(|e| failure(&e))
}

/// Ends an open transaction without effect. After some errors SQLite has already done so.
fn roll_back(connection: &Connection) -> Result<(), StoreError> {
    if connection.is_autocommit() { Ok(()) } else { execute(connection, "rollback") }
}

fn all_at_once(connection: &Connection, jobs: &[Job]) -> Result<(), StoreError> {
    execute(connection, "begin immediate")?;
    let result = jobs
        .iter()
        .flat_map(|job| &job.stmts)
        .try_for_each(|stmt| run(connection, stmt))
        .and_then(|()| execute(connection, "commit"));
    if result.is_err() {
        roll_back(connection)?;
    }
    result
}

/// One result a job, or the error that ended them all.
fn one_by_one(connection: &Connection, jobs: &[Job]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    execute(connection, "begin immediate")?;
    let each = || {
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            results.push(in_savepoint(connection, job)?);
        }
        execute(connection, "commit")?;
        Ok(results)
    };
    let results = each();
    if results.is_err() {
        roll_back(connection)?;
    }
    results
}

/// The inner result is the job's own, the outer one ends the group.
fn in_savepoint(connection: &Connection, job: &Job) -> Result<Result<(), StoreError>, StoreError> {
    execute(connection, "savepoint job")?;
    let result = job.stmts.iter().try_for_each(|stmt| run(connection, stmt));
    match &result {
        Err(e) if is_fatal(e) => return Err(e.clone()),
        Err(_) => execute(connection, "rollback to job")?,
        Ok(()) => {}
    }
    execute(connection, "release job")?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Query, args};
    use crate::sqlite::ask;

    fn insert(bytes: usize) -> Vec<Stmt> {
        let sql = "insert into t (x) values ($1)";
        vec![Stmt { sql: sql.into(), args: args!["x".repeat(bytes)], refused: None, dangling: None }]
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_the_writer_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full.db");
        let connection = connect(&path, Mode::Write).unwrap();
        connection.execute_batch("create table t (x text); pragma max_page_count = 8").unwrap();
        let writer =
            Writer::start(path.clone(), connection, File::create(path.with_extension("lock")).unwrap())
                .unwrap();
        writer.commit(insert(10)).await.unwrap();
        let full = writer.commit(insert(100_000)).await;
        assert!(matches!(&full, Err(e) if e.is_retryable()), "{full:?}");
        // The new connection has no such limit: as if room had been made.
        writer.commit(insert(100_000)).await.unwrap();
        let rows = ask(&connect(&path, Mode::Read).unwrap(), &Query::new("select x from t", vec![]), |row| {
            row.text(0).map(str::len)
        });
        assert_eq!(rows, Ok(vec![10, 100_000]));
    }

    #[tokio::test]
    async fn the_log_is_copied_into_the_file_once_it_is_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.db");
        let connection = connect(&path, Mode::Write).unwrap();
        connection.execute_batch("create table t (x text)").unwrap();
        let writer =
            Writer::start(path.clone(), connection, File::create(path.with_extension("lock")).unwrap())
                .unwrap();
        let log_bytes = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        let limit = u64::try_from(CHECKPOINT_PAGES).unwrap() * 4096;
        for _ in 0..60 {
            writer.commit(insert(1_000_000)).await.unwrap();
        }
        assert!(log_bytes() < limit * 2, "60 MB were written, and the log has {} bytes", log_bytes());
        writer.stop();
        assert!(std::fs::metadata(&path).unwrap().len() > 60_000_000);
    }
}
