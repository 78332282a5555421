//! Shows a deployment's log: of what runs, from its host; of what has ended, as it was kept.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use spawnpoint_driver::{DriverError, LogFrom};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::limits::LOG_BYTES_MAX;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::KeptLog;

use crate::log_text::{Log, LogTail};
use crate::stop::not_found;
use crate::{Engine, Error};

/// Logs of one host that are read for somebody at one time; each may take a few MiB of memory.
pub(crate) const READS_PER_HOST: usize = 4;
/// For waiting until it is one's turn, and for reading.
const READ_MAX: Duration = Duration::from_secs(5);
/// How often a host is asked that has no such workload.
const READ_TRIES: u32 = 2;

/// What there is of a deployment's logs.
#[derive(Clone, Debug)]
pub struct ContainerLogs {
    /// The end of the log of the attempt that runs, or ran last; empty before it starts.
    pub log: Log,
    /// The newest attempt that ended without having been asked to.
    pub crash: Option<Crash>,
    /// Where the whole log can be downloaded.
    pub link: Option<String>,
}

/// An attempt that ended without having been asked to.
#[derive(Clone, Debug)]
pub struct Crash {
    /// How.
    pub exit: Exit,
    /// The end of its log.
    pub log: Log,
    /// Restarts of the deployment so far.
    pub restarts: u32,
}

impl Engine {
    /// A deployment's logs. In every state there is an answer.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable` if the host of a running deployment does not answer.
    pub async fn container_logs(&self, actor: &Actor, id: DeploymentId) -> Result<ContainerLogs, Error> {
        let row = self.find_visible(actor, id).await?;
        let link = self.logs_link(id).await?;
        let live = self.live_log(&row).await;
        // Read afterwards: a workload that was gone by now has left its log here.
        let kept = self.inner.store.kept_logs(id).await?;
        let is_kept = || kept.iter().any(|log| log.attempt == row.state.attempt);
        let live = match live {
            // Its host is removing it just now, or does not answer: what was kept before that is all there is to come.
            Err(_) if is_kept() => None,
            answer => answer?,
        };
        let crash = kept.iter().filter(|log| log.crashed).find_map(|log| {
            Some(Crash { exit: log.exit?, log: unpacked(log), restarts: row.state.restarts })
        });
        let log = match live {
            Some(log) => log,
            None => {
                let is_shown =
                    |log: &&KeptLog| !row.state.phase.may_have_workload() || log.attempt == row.state.attempt;
                kept.first().filter(is_shown).map(unpacked).unwrap_or_default()
            }
        };
        Ok(ContainerLogs { log, crash, link })
    }

    /// The end of the log alone.
    ///
    /// # Errors
    /// As [`Self::container_logs`].
    pub async fn log_tail(&self, actor: &Actor, id: DeploymentId) -> Result<Log, Error> {
        Ok(self.container_logs(actor, id).await?.log)
    }

    /// A row that the actor may look at.
    pub(crate) async fn find_visible(
        &self,
        actor: &Actor,
        id: DeploymentId,
    ) -> Result<Arc<Deployment>, Error> {
        self.need(actor, Scope::Read)?;
        let row = self.inner.rows.find(id).await?.filter(|row| actor.may_see(&row.spec.app));
        row.ok_or_else(|| not_found(id))
    }

    /// The end of the log of the present attempt, if its host has it.
    async fn live_log(&self, row: &Deployment) -> Result<Option<Log>, Error> {
        let host = row.state.host.as_ref().filter(|_| row.state.phase.may_have_workload());
        let Some(runtime) = host.and_then(|host| self.inner.fleet.find(host)) else { return Ok(None) };
        let read = async || {
            let turn = runtime.log_reads.acquire().await;
            let _turn = turn.map_err(|error| DriverError::Internal(error.to_string()))?;
            let mut pieces =
                runtime.driver().logs(row.workload(), LogFrom::Tail(LOG_BYTES_MAX + 1), false).await?;
            let mut tail = LogTail::default();
            while let Some(piece) = pieces.next().await {
                tail.push(piece?);
            }
            Ok::<Log, DriverError>(tail.into_log())
        };
        let mut error = DriverError::Timeout;
        // One that is made between the read and the look is read again.
        for _ in 0..READ_TRIES {
            match tokio::time::timeout(READ_MAX, Box::pin(read())).await {
                Ok(Ok(log)) => return Ok(Some(log)),
                Ok(Err(refused)) => error = refused,
                Err(_) => error = DriverError::Timeout,
            }
            // Not made yet, or removed by now.
            let look = tokio::time::timeout(READ_MAX, runtime.driver().inspect(row.workload())).await;
            if matches!(look, Ok(Ok(None))) {
                return Ok(None);
            }
            if error != DriverError::Missing {
                break;
            }
        }
        tracing::warn!(deployment.id = %row.id, host.id = %runtime.id(), error = %error, "a log could not be read");
        Err(Error::Unavailable(
            "the deployment's host does not give its log now, please try again".to_owned(),
        ))
    }
}

/// A kept log, unpacked; an empty one if it cannot be.
pub(crate) fn unpacked(kept: &KeptLog) -> Log {
    Log::unpack(&kept.pieces).unwrap_or_else(|| {
        tracing::warn!(deployment.id = %kept.deployment, attempt = kept.attempt, "a kept log cannot be read");
        Log::default()
    })
}
