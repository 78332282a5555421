//! Keeps the end of a workload's log, and how its process ended, before the workload is removed: our flight recorder.
//!
//! ```text
//!   Action::Remove ─▶ read the log's last MiB ─▶ deployment_logs (one transaction, with the exit) ─▶ driver.remove
//!                     (at most READ_MAX)
//! ```
//!
//! It never fails a removal, and never delays one by more than [`READ_MAX`] and a moment; among hundreds of removals at once, by
//! [`TURN_MAX`] more. If the control plane dies in
//! between, the same code runs again and writes the same row. What could not be kept is an event of the deployment.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use spawnpoint_driver::{LogFrom, Running};
use spawnpoint_model::Deployment;
use spawnpoint_model::deployment::{After, Exit, FailureKind, Phase, StopCause};
use spawnpoint_model::limits::LOG_BYTES_MAX;
use spawnpoint_store::{KeptLog, Tx};

use crate::Engine;
use crate::hosts::HostRuntime;
use crate::log_text::LogTail;

/// Logs that are read at one time; each may take a few MiB of memory.
pub(crate) const CAPTURES_MAX: usize = 32;
/// Logs of one host that are read at one time.
pub(crate) const CAPTURES_PER_HOST: usize = 8;
/// For waiting until it is one's turn: hundreds of workloads may be removed at once, and wait for their removal as well.
const TURN_MAX: Duration = Duration::from_secs(10);
/// For reading.
const READ_MAX: Duration = Duration::from_secs(4);
/// For writing down what was read.
const KEEP_MAX: Duration = Duration::from_secs(1);

/// Why a log was not kept, or not to its end.
#[derive(Debug)]
pub(crate) struct NotKept(String);

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// The workload is there, and its log was asked for.
    begun: bool,
    tail: LogTail,
    exit: Option<Exit>,
}

impl Engine {
    /// Reads and keeps the log of the row's present attempt.
    pub(crate) async fn capture(&self, row: &Deployment) -> Result<(), NotKept> {
        let runtime = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host));
        let Some(runtime) = runtime else { return Err(NotKept("its host is not there".to_owned())) };
        let runtime = runtime.as_ref();
        let turn = async { (runtime.captures.acquire().await, self.inner.captures.acquire().await) };
        let Ok(_turn) = tokio::time::timeout(TURN_MAX, turn).await else {
            return Err(NotKept("too many logs were to be read at once".to_owned()));
        };
        let mut reading = Reading::default();
        let read = self.read_log(row, runtime, &mut reading);
        let mut result = match tokio::time::timeout(READ_MAX, Box::pin(read)).await {
            Ok(result) => result,
            Err(_) => Err(NotKept(format!("it could not be read to its end in {} s", READ_MAX.as_secs()))),
        };
        if reading.begun {
            let kept = tokio::time::timeout(KEEP_MAX, self.keep(row, reading)).await;
            result =
                result.and(kept.unwrap_or_else(|_| Err(NotKept("the database was too slow".to_owned()))));
        }
        result
    }

    async fn read_log(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
        into: &mut Reading,
    ) -> Result<(), NotKept> {
        let failed = |error: spawnpoint_driver::DriverError| NotKept(error.to_string());
        let (driver, id) = (runtime.driver(), row.workload());
        match driver.inspect(id).await.map_err(failed)?.map(|seen| seen.state) {
            None => return Ok(()),
            Some(Running::Exited(exit)) => into.exit = Some(exit),
            Some(Running::Starting | Running::Running) => {}
        }
        if self.inner.options.log_keep_bytes == 0 {
            return Ok(());
        }
        let from = LogFrom::Tail(LOG_BYTES_MAX + 1);
        into.begun = true;
        let mut pieces = driver.logs(id, from, false).await.map_err(failed)?;
        while let Some(piece) = pieces.next().await {
            into.tail.push(piece.map_err(failed)?);
        }
        Ok(())
    }

    async fn keep(&self, row: &Deployment, reading: Reading) -> Result<(), NotKept> {
        let log = reading.tail.into_log();
        let kept = KeptLog {
            deployment: row.id,
            attempt: row.state.attempt,
            at: self.now(),
            exit: reading.exit,
            crashed: reading.exit.is_some() && ended_by_itself(&row.state.phase),
            bytes: log.len() as u64,
            truncated: log.truncated,
            pieces: log.pack(),
        };
        let stored = kept.pieces.len() as u64;
        let mut tx = Tx::new();
        tx.keep_log(&kept);
        self.inner.store.commit(tx).await.map_err(|error| NotKept(error.to_string()))?;
        self.count_kept_log(stored);
        Ok(())
    }

    /// Writes down that a log is lost; for after its workload is gone.
    pub(crate) async fn note_not_kept(&self, row: &Deployment, NotKept(reason): NotKept) {
        tracing::warn!(deployment.id = %row.id, reason, "a log was not kept");
        let detail = json!({ "attempt": row.state.attempt, "reason": reason });
        let mut tx = Tx::new();
        tx.append_event(row.id, self.now(), "logs_not_kept", &detail.to_string());
        if let Err(error) = self.inner.store.commit(tx).await {
            tracing::warn!(deployment.id = %row.id, error = %error, "an event could not be written");
        }
    }
}

/// Whether the process of an attempt that is being removed has ended without having been asked to.
const fn ended_by_itself(phase: &Phase) -> bool {
    let Phase::Stopping(after) = phase else { return false };
    match after {
        After::Restart | After::Terminate(StopCause::Exited) => true,
        After::Fail(failure) | After::Replace(failure) => {
            matches!(
                failure.kind,
                FailureKind::CrashLoop | FailureKind::ExitedBeforeReady | FailureKind::DiskFull
            )
        }
        After::Terminate(_) => false,
    }
}
