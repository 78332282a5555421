//! What the reconciler does to a workload through its host's driver, and what comes of it.

use std::time::Duration;

use futures_util::StreamExt;
use spawnpoint_driver::{Credentials, DriverError, LogFrom, PortPublish, Running, WorkloadSpec};
use spawnpoint_model::deployment::{Failure, FailureKind, Phase};
use spawnpoint_model::lifecycle::{Observation, Retry, expires_at};
use spawnpoint_model::port::PortBinding;
use spawnpoint_model::secret::Plaintext;
use spawnpoint_model::{Deployment, Timestamp, VersionSpec};

use crate::capture::NotKept;
use crate::front::FrontError;
use crate::hosts::HostRuntime;
use crate::view::DeploymentView;
use crate::{Engine, Error, environment};

/// Purpose under which registry secrets are sealed.
pub(crate) const REGISTRY_PURPOSE: &str = "registry";
/// Pause before a start is tried again that has failed for the moment.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The log of a container that is about to go must be read in this time: the stop waits for it.
const SPOOL_PATIENCE: Duration = Duration::from_secs(10);
/// A host ends a workload by itself so much later than the control plane would: only while there is none.
const LIFETIME_MARGIN: Duration = Duration::from_secs(60);
/// Progress of a pull is logged this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How long an attempt may live that is started now: `max_duration` counts from READY, which comes in bounded time or never.
fn lifetime(row: &Deployment, now: Timestamp) -> Option<Duration> {
    let minutes = u64::try_from(row.spec.max_duration_minutes).ok().filter(|minutes| *minutes > 0)?;
    let until_ready = row.state.deadline.map_or(Duration::ZERO, |end| end.since(now));
    let left = match expires_at(row) {
        Some(end) => end.since(now),
        None => until_ready + Duration::from_secs(60 * minutes),
    };
    Some(left + LIFETIME_MARGIN)
}

impl Engine {
    /// Looks at the workload of the row's attempt. `in_full` asks the engine for its state; else only its ports are
    /// looked at, which is much cheaper.
    pub(crate) async fn observe(&self, row: &Deployment, in_full: bool) -> Observation {
        let Some(runtime) = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host)) else {
            return Observation::Unreachable;
        };
        if in_full {
            match runtime.driver().inspect(row.workload()).await {
                Ok(None) => return Observation::Absent,
                Ok(Some(seen)) => match seen.state {
                    Running::Starting => return Observation::Starting,
                    Running::Exited(exit) => return Observation::Exited(exit),
                    Running::Running => {}
                },
                Err(error) => {
                    tracing::debug!(host.id = %runtime.id(), error = %error, "a host did not answer");
                    return Observation::Unreachable;
                }
            }
        }
        if row.state.phase != Phase::Starting {
            return Observation::Running { listening: true };
        }
        self.observe_ports(row, &runtime).await
    }

    async fn observe_ports(&self, row: &Deployment, runtime: &HostRuntime) -> Observation {
        let checked: Vec<PortPublish> =
            row.state.ports.iter().filter(|port| port.to_check).flat_map(publish).collect();
        let listens =
            checked.is_empty() || runtime.driver().listening(row.workload(), &checked).await.unwrap_or(false);
        if !listens {
            return Observation::Running { listening: false };
        }
        match self.open_front(row, runtime).await {
            Ok(listening) => Observation::Running { listening },
            Err(FrontError::PortTaken(port)) => {
                let detail =
                    format!("the port {port}, on which TLS is to be ended, is used by somebody else");
                fail(FailureKind::PortTaken, detail, Retry::OtherPorts)
            }
            Err(FrontError::Failed(detail)) => fail(FailureKind::StartFailed, detail, Retry::Elsewhere),
        }
    }

    /// Makes and starts the workload, pulling its image first if that is needed.
    pub(crate) async fn start_workload(&self, row: &Deployment) -> Observation {
        let Some(runtime) = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host)) else {
            return Observation::Unreachable;
        };
        let view = match self.view(row.clone().into()).await {
            Ok(view) => view,
            Err(Error::Unavailable(_)) => return Observation::Nothing,
            Err(error) => return fail(FailureKind::StartFailed, error.to_string(), Retry::Never),
        };
        let mut spec = match self.workload_spec(&view, &runtime) {
            Ok(spec) => spec,
            Err(detail) => return fail(FailureKind::StartFailed, detail, Retry::Never),
        };
        match self.allowed(row, &view.version).await {
            Ok(networks) => spec.access = networks.map(|networks| networks.to_vec()),
            // Without its list it is not started.
            Err(_) => return Observation::Nothing,
        }
        let result = if row.spec.pull_profiles.is_empty() {
            self.ensure(row, &runtime, &view.version, &spec).await
        } else {
            self.ensure_with_files(row, &runtime, &view.version, &mut spec).await
        };
        let result = match (result, &spec.access) {
            (Ok(()), Some(networks)) => self.catch_up_access(row, &runtime, networks).await,
            (result, _) => result,
        };
        match result {
            Ok(()) => {
                self.inner.fleet.add_image(runtime.id(), &spec.image);
                self.observe_ports(row, &runtime).await
            }
            Err(error) => {
                tracing::info!(deployment.id = %row.id, host.id = %runtime.id(), error = %error, "a start did not succeed");
                self.start_failed(error).await
            }
        }
    }

    /// `ensure`, with a pull before it where the image moves or is missing.
    async fn ensure(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
        version: &VersionSpec,
        spec: &WorkloadSpec,
    ) -> Result<(), DriverError> {
        if version.image.is_moving() {
            self.pull(row, runtime, version, true).await?;
        }
        match runtime.driver().ensure(spec).await {
            Err(DriverError::ImageMissing) => {
                self.pull(row, runtime, version, false).await?;
                runtime.driver().ensure(spec).await
            }
            other => other,
        }
    }

    /// `ensure`, of a workload that is given files. They are held in memory, so they come last and few have them at once.
    async fn ensure_with_files(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
        version: &VersionSpec,
        spec: &mut WorkloadSpec,
    ) -> Result<(), DriverError> {
        self.pull(row, runtime, version, version.image.is_moving()).await?;
        let Ok(_place) = self.inner.with_files.acquire().await else { return Err(DriverError::Timeout) };
        spec.files = self.pulled_files(row).await.map_err(DriverError::StartFailed)?;
        runtime.driver().ensure(spec).await
    }

    async fn pull(
        &self,
        row: &Deployment,
        runtime: &HostRuntime,
        version: &VersionSpec,
        refresh: bool,
    ) -> Result<(), DriverError> {
        let image = version.image.reference();
        let credentials = self.credentials(version).map_err(DriverError::Invalid)?;
        let left = row.state.deadline.map_or(Duration::MAX, |end| end.since(self.now()));
        let last = parking_lot::Mutex::new(tokio::time::Instant::now());
        let progress = |done: u64, all: Option<u64>| {
            let mut last = last.lock();
            if last.elapsed() >= PROGRESS_EVERY {
                *last = tokio::time::Instant::now();
                tracing::info!(deployment.id = %row.id, host.id = %runtime.id(), image, done_bytes = done, all_bytes = all, "pulling");
            }
        };
        let pull = runtime.driver().prepare(&image, credentials.as_ref(), refresh, &progress);
        tokio::time::timeout(left, pull).await.unwrap_or(Err(DriverError::PullTimeout))
    }

    pub(crate) fn credentials(&self, version: &VersionSpec) -> Result<Option<Credentials>, String> {
        let (Some(username), Some(sealed)) = (&version.image.username, &version.image.token) else {
            return Ok(None);
        };
        let token = self
            .inner
            .vault
            .open(sealed, REGISTRY_PURPOSE)
            .map_err(|_| "the registry secret of the version cannot be opened".to_owned())?;
        Ok(Some(Credentials { username: username.clone(), token }))
    }

    fn workload_spec(&self, view: &DeploymentView, runtime: &HostRuntime) -> Result<WorkloadSpec, String> {
        let row = &view.deployment;
        let callback = runtime.setup.callback_url.as_deref().unwrap_or(&self.inner.options.callback_url);
        let env: Vec<(String, Plaintext)> = environment::build(view, callback, &self.inner.vault)?;
        Ok(WorkloadSpec {
            id: row.workload(),
            installation: self.inner.store.installation().clone(),
            host: runtime.id().clone(),
            image: view.version.image.reference(),
            command: words(view.command()),
            arguments: words(view.arguments()),
            env,
            ports: row
                .state
                .ports
                .iter()
                .filter(|port| !runtime.is_fronted(port))
                .flat_map(publish)
                .collect(),
            resources: row.spec.resources,
            pids_max: runtime.setup.pids_max,
            security: runtime.setup.security,
            files: Vec::new(),
            access: None,
            lifetime: lifetime(row, self.now()),
        })
    }

    /// What a failed start means for the lifecycle.
    async fn start_failed(&self, error: DriverError) -> Observation {
        let detail = error.to_string();
        match error {
            DriverError::ImageMissing => fail(FailureKind::ImageUnavailable, detail, Retry::Elsewhere),
            DriverError::ImageUnavailable { permanent: true, .. } => {
                fail(FailureKind::ImageUnavailable, detail, Retry::Never)
            }
            DriverError::PullTimeout => fail(FailureKind::PullTimeout, detail, Retry::Never),
            DriverError::PortBusy { .. } => fail(FailureKind::PortTaken, detail, Retry::OtherPorts),
            DriverError::NoCapacity(_) | DriverError::Missing | DriverError::Internal(_) => {
                fail(FailureKind::StartFailed, detail, Retry::Elsewhere)
            }
            DriverError::Invalid(_)
            | DriverError::Conflict
            | DriverError::StartFailed(_)
            | DriverError::Unsupported => fail(FailureKind::StartFailed, detail, Retry::Never),
            // The registry may answer better in a moment; the deadline ends it.
            DriverError::ImageUnavailable { permanent: false, .. } => {
                tokio::time::sleep(RETRY_PAUSE).await;
                Observation::Nothing
            }
            // Nobody knows what came of it: look.
            DriverError::Timeout => Observation::Nothing,
            DriverError::Unavailable(_) => {
                tokio::time::sleep(RETRY_PAUSE).await;
                Observation::Unreachable
            }
        }
    }

    pub(crate) async fn stop_workload(&self, row: &Deployment, grace: Duration) -> Observation {
        let Some(runtime) = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host)) else {
            return Observation::Unreachable;
        };
        match runtime.driver().stop(row.workload(), grace).await {
            Ok(()) => self.observe(row, true).await,
            Err(error) => {
                tracing::warn!(deployment.id = %row.id, host.id = %runtime.id(), error = %error, "a stop did not reach its workload");
                Observation::Unreachable
            }
        }
    }

    /// Removes the workload. Its log is kept before, unless that was tried already.
    pub(crate) async fn remove_workload(
        &self,
        row: &Deployment,
        captured: Option<Result<(), NotKept>>,
    ) -> Observation {
        let Some(runtime) = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host)) else {
            return Observation::Unreachable;
        };
        let capture = async {
            match captured {
                Some(captured) => captured,
                None => self.capture(row).await,
            }
        };
        // Two readings: neither waits for the other, and what one cannot have, the other may.
        let (captured, ()) = tokio::join!(Box::pin(capture), Box::pin(self.spool_log(row, &runtime)));
        match runtime.driver().remove(row.workload()).await {
            Ok(()) => {
                if let Some(front) = &runtime.setup.front {
                    front.close(row.id);
                }
                if let Err(lost) = captured {
                    self.note_not_kept(row, lost).await;
                }
                // Believed only when the host says so itself.
                self.observe(row, true).await
            }
            Err(error) => {
                tracing::warn!(deployment.id = %row.id, host.id = %runtime.id(), error = %error, "a removal did not succeed; trying again");
                Observation::Unreachable
            }
        }
    }
}

impl Engine {
    /// Writes the log of a container that is about to go to where it will be uploaded from, if that is wanted.
    async fn spool_log(&self, row: &Deployment, runtime: &HostRuntime) {
        let Some(mut spool) = self.spool_for(row).await else { return };
        let copied = tokio::time::timeout(SPOOL_PATIENCE, async {
            // All of it, each piece with its time.
            let mut log = runtime.driver().logs(row.workload(), LogFrom::Start, false).await?;
            while let Some(chunk) = log.next().await.filter(|_| spool.is_open()) {
                spool.write(&chunk?).await;
            }
            Ok::<_, DriverError>(())
        });
        match copied.await {
            Ok(Ok(())) => spool.finish().await,
            Ok(Err(error)) => spool.abandon(&error.to_string()).await,
            Err(_) => {
                spool.cut_short("the host took too long to give it");
                spool.finish().await;
            }
        }
    }
}

fn fail(kind: FailureKind, detail: String, retry: Retry) -> Observation {
    Observation::StartFailed(Failure::new(kind, detail), retry)
}

/// A binding as drivers publish it: once a transport.
pub(crate) fn publish(port: &PortBinding) -> impl Iterator<Item = PortPublish> + '_ {
    port.protocol.transports().iter().map(|transport| PortPublish {
        internal: port.internal,
        external: port.external,
        transport: *transport,
    })
}

/// A command as words: split as a shell splits, or given to `/bin/sh -c` whole if it uses what only a shell can do.
fn words(command: Option<&str>) -> Option<Vec<String>> {
    let command = command.map(str::trim).filter(|text| !text.is_empty())?;
    let needs_shell = command.contains(['|', ';', '<', '>', '$', '&', '`', '\n']);
    match shell_words::split(command) {
        Ok(words) if !needs_shell => Some(words),
        _ => Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()]),
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn commands_are_split_as_a_shell_splits_them() {
        let owned = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(Some("./server -log 'two words'")), owned(&["./server", "-log", "two words"]));
        assert_eq!(words(Some("a && b")), owned(&["/bin/sh", "-c", "a && b"]));
        assert_eq!(words(Some("echo $HOME")), owned(&["/bin/sh", "-c", "echo $HOME"]));
        assert_eq!(words(Some("  ")), None);
        assert_eq!(words(None), None);
    }
}
