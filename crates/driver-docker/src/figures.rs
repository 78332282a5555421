//! What all containers of a host have used: from the kernel where they run on this machine, else from the engine.
//!
//! The kernel's files cost microseconds a container and are read whenever somebody asks. The engine costs milliseconds
//! a container, on somebody else's machine: it is asked once a minute, and between those rounds such workloads have no
//! figures. An engine that hangs delays nobody but its own round.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use spawnpoint_driver::{DriverError, Running, Stats, figures};
use spawnpoint_model::WorkloadId;
use tokio::time::Instant;

use crate::driver::{DockerDriver, Process};
use crate::kernel::{Cgroups, Reading};
use crate::{Endpoint, names, observe};

/// Between two rounds in which the engine is asked for figures.
const ENGINE_EVERY: Duration = Duration::from_secs(60);
/// New workloads that are looked for at once, and for how long in all; the others are looked for next time.
const LOOKS_AT_ONCE: usize = 4;
const LOOKS: Duration = Duration::from_secs(5);

impl DockerDriver {
    pub(crate) async fn all_figures(&self) -> Result<Vec<(WorkloadId, Stats)>, DriverError> {
        let is_local = matches!(self.engine().config().endpoint, Endpoint::Unix(_));
        let engine_is_due = self.engine_is_due();
        if !is_local && !engine_is_due {
            return Ok(Vec::new());
        }
        let running = self.running().await?;
        let mut here = Vec::new();
        let mut elsewhere = Vec::new();
        for (id, process) in self.located(running).await {
            match process {
                Process::Here { pid, container } => here.push((id, pid, container)),
                Process::Elsewhere => elsewhere.push(id),
            }
        }
        let read_at = Instant::now();
        let read = tokio::task::spawn_blocking(move || {
            let cgroups = Cgroups::here();
            let read =
                |(id, pid, container): (_, _, std::sync::Arc<str>)| (id, cgroups.read(pid, &container));
            here.into_iter().map(read).collect::<Vec<_>>()
        });
        let read = read.await.map_err(|error| DriverError::Internal(error.to_string()))?;
        let mut found = Vec::with_capacity(read.len());
        for (id, reading) in read {
            match reading {
                Reading::Read(stats) => found.push((id, stats)),
                Reading::Hidden => elsewhere.push(id),
                Reading::Gone => self.forget_process(id),
            }
        }
        if engine_is_due && !elsewhere.is_empty() {
            // Where there are too many for one round, the next one begins with those that were left out.
            elsewhere.sort_unstable();
            let skipped = self.told_by_engine.load(Ordering::Relaxed) % elsewhere.len();
            elsewhere.rotate_left(skipped);
            let told = figures::one_by_one(self, elsewhere).await;
            self.told_by_engine.fetch_add(told.len(), Ordering::Relaxed);
            self.engine_was_asked();
            found.iter_mut().for_each(|(_, stats)| stats.age = read_at.elapsed());
            found.extend(told);
        }
        Ok(found)
    }

    /// The workloads whose figures there may be. Where the engine does not answer, those that are known: the kernel
    /// tells of them all the same.
    async fn running(&self) -> Result<Vec<WorkloadId>, DriverError> {
        match self.summaries().await {
            Ok(listed) => {
                let host = self.host();
                let is_running = |state: &Running| *state == Running::Running;
                let running: Vec<WorkloadId> = listed
                    .iter()
                    .filter(|c| observe::summary(c, host).is_some_and(|seen| is_running(&seen.state)))
                    .filter_map(|c| c.labels.as_ref().and_then(names::workload))
                    .collect();
                self.keep_processes(&running.iter().copied().collect::<HashSet<_>>());
                Ok(running)
            }
            Err(error) => {
                let known = self.known_here();
                if known.is_empty() { Err(error) } else { Ok(known) }
            }
        }
    }

    /// Where they are; asks the engine once in a workload's life.
    async fn located(&self, ids: Vec<WorkloadId>) -> Vec<(WorkloadId, Process)> {
        let end = Instant::now() + LOOKS;
        let look = |id| async move { (id, self.process(id).await) };
        let mut looks = stream::iter(ids).map(look).buffer_unordered(LOOKS_AT_ONCE);
        let mut found = Vec::new();
        while let Ok(Some((id, process))) = tokio::time::timeout_at(end, looks.next()).await {
            if let Ok(Some(process)) = process {
                found.push((id, process));
            }
        }
        found
    }

    fn engine_is_due(&self) -> bool {
        self.asked_for_figures.lock().is_none_or(|at| at.elapsed() >= ENGINE_EVERY)
    }

    fn engine_was_asked(&self) {
        *self.asked_for_figures.lock() = Some(Instant::now());
    }
}
