//! The driver contract on one host of an engine.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, ListImagesOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
    UploadToContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use spawnpoint_driver::{
    AccessList, Credentials, Driver, DriverError, DriverInfo, HintStream, HostProbe, LogFrom, LogStream,
    Observed, PortPublish, Progress, Running, Stats, WorkloadSpec,
};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, HostId, MemoryMib, Transport, WorkloadId};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::engine::{DockerEngine, GuardState};
use crate::error::{answer, from_bollard, from_create, from_files, from_start};
use crate::{Endpoint, files, names, observe, profile, pull, sockets, streams};

const LIST: Duration = Duration::from_secs(10);
const INSPECT: Duration = Duration::from_secs(5);
const CREATE: Duration = Duration::from_secs(30);
const START: Duration = Duration::from_secs(60);
/// Putting files into a container.
const FILES: Duration = Duration::from_secs(60);
const KILL: Duration = Duration::from_secs(10);
const REMOVE: Duration = Duration::from_secs(60);
/// To open a log; its end is read in this time, and anything else begins to come.
const LOGS: Duration = Duration::from_secs(10);
const STATS: Duration = Duration::from_secs(5);
/// Between two looks at something that is under way in the engine.
const AGAIN: Duration = Duration::from_millis(50);
/// How long a port on another machine may take to refuse.
const REMOTE_PORT: Duration = Duration::from_millis(500);
/// How long a proxy in front of a closed port takes to hang up, at most.
const HANG_UP: Duration = Duration::from_millis(100);
/// Ended containers that are asked at once how they ended.
const INSPECTS_AT_ONCE: usize = 4;

/// Where a workload's first process is.
#[derive(Clone)]
pub(crate) enum Process {
    /// On this machine, as this process of this container.
    Here { pid: i64, container: Arc<str> },
    /// On another machine, or in another PID namespace.
    Elsewhere,
}

/// One host of the config, on a Docker Engine.
pub struct DockerDriver {
    engine: Arc<DockerEngine>,
    host: HostId,
    /// Only a shortcut: [`Driver::listening`] is asked every few milliseconds, and would find the same again.
    processes: Mutex<HashMap<WorkloadId, Process>>,
    /// When the engine was last asked for figures that cost it much.
    pub(crate) asked_for_figures: Mutex<Option<tokio::time::Instant>>,
    /// How many such figures it has given so far.
    pub(crate) told_by_engine: AtomicUsize,
}

impl fmt::Debug for DockerDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DockerDriver({} on {})", self.host, self.engine.config().endpoint)
    }
}

impl DockerDriver {
    /// A host on this engine.
    #[must_use]
    pub fn new(engine: Arc<DockerEngine>, host: HostId) -> Self {
        Self {
            engine,
            host,
            processes: Mutex::default(),
            asked_for_figures: Mutex::default(),
            told_by_engine: AtomicUsize::new(0),
        }
    }

    /// The engine that it shares with other hosts.
    #[must_use]
    pub const fn engine(&self) -> &Arc<DockerEngine> {
        &self.engine
    }

    fn name(&self, id: WorkloadId) -> String {
        names::container(&self.engine.config().installation, id)
    }

    /// The container of a workload, if it carries our labels: whoever only took the name is none of ours.
    async fn find(&self, id: WorkloadId) -> Result<Option<ContainerInspectResponse>, DriverError> {
        // The version of the API is agreed on there.
        self.engine.ready().await?;
        let name = self.name(id);
        let inspect = self.engine.client()?.inspect_container(&name, None::<InspectContainerOptions>);
        match self.engine.light(INSPECT, inspect).await? {
            Ok(container) => Ok(Some(container).filter(|container| self.owns(container))),
            Err(error) if is_status(&error, 404) => Ok(None),
            Err(error) => Err(from_bollard(&error)),
        }
    }

    fn owns(&self, container: &ContainerInspectResponse) -> bool {
        let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
        let is = |key: &str, value: &str| labels.and_then(|l| l.get(key)).is_some_and(|found| found == value);
        is(names::INSTALLATION, self.engine.config().installation.as_str())
            && is(names::HOST, self.host.as_str())
    }

    /// Its own labels, as the engine filters by them.
    fn filters(&self) -> HashMap<String, Vec<String>> {
        let installation = &self.engine.config().installation;
        let labels =
            vec![format!("{}={installation}", names::INSTALLATION), format!("{}={}", names::HOST, self.host)];
        HashMap::from([("label".to_owned(), labels)])
    }

    async fn create_and_start(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        spec.check_files().map_err(DriverError::Invalid)?;
        let ready = self.engine.ready().await?;
        let name = self.name(spec.id);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = profile::container(spec, ready.around);
        let created = within(CREATE, self.engine.client()?.create_container(Some(options), body)).await?;
        match created {
            Ok(_) => {
                self.put_files(&name, spec).await?;
                self.put_access(spec).await?;
                self.start(&name, spec).await
            }
            Err(error) if is_status(&error, 409) => self.start_existing(&name, spec).await,
            Err(error) => Err(from_create(&error)),
        }
    }

    /// Puts the files of a workload into its container, which is made and does not run.
    async fn put_files(&self, container: &str, spec: &WorkloadSpec) -> Result<(), DriverError> {
        if spec.files.is_empty() {
            return Ok(());
        }
        let archive = files::archive(&spec.files).map_err(|error| DriverError::Invalid(error.to_string()))?;
        let options =
            UploadToContainerOptionsBuilder::default().path("/").no_overwrite_dir_non_dir("true").build();
        let body = bollard::body_full(archive.into());
        let upload = self.engine.client()?.upload_to_container(container, Some(options), body);
        within(FILES, upload).await?.map_err(|error| from_files(&error))
    }

    /// Lets in whom the workload lets in, and nobody else, before it is started.
    async fn put_access(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        match spec.access_list() {
            Some(list) => self.engine.put_access(list).await,
            None => Ok(()),
        }
    }

    /// The containers of this installation, whatever their host.
    async fn all_workloads(&self) -> Result<HashSet<WorkloadId>, DriverError> {
        let label = format!("{}={}", names::INSTALLATION, self.engine.config().installation);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let list = self.engine.client()?.list_containers(Some(options));
        let all = self.engine.light(LIST, list).await?.map_err(|error| from_bollard(&error))?;
        Ok(all.iter().filter_map(|container| names::workload(container.labels.as_ref()?)).collect())
    }

    async fn start(&self, container: &str, spec: &WorkloadSpec) -> Result<(), DriverError> {
        let start = self.engine.client()?.start_container(container, None::<StartContainerOptions>);
        within(START, start).await?.map_err(|error| {
            if answer(&error).is_some_and(|(status, text)| status == 404 && text.contains("network")) {
                self.engine.forget_set_up();
            }
            from_start(&error, &spec.ports)
        })
    }

    /// The name is taken: by an earlier call for the same workload, or by another that is under way right now.
    async fn start_existing(&self, name: &str, spec: &WorkloadSpec) -> Result<(), DriverError> {
        let mut looks = CREATE.as_millis() / AGAIN.as_millis();
        let container = loop {
            let inspect = self.engine.client()?.inspect_container(name, None::<InspectContainerOptions>);
            match within(INSPECT, inspect).await? {
                Ok(container) => break container,
                // The name is taken a moment before the container can be seen.
                Err(error) if is_status(&error, 404) && looks > 0 => {
                    looks -= 1;
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(from_bollard(&error)),
            }
        };
        let labels = container.config.as_ref().and_then(|config| config.labels.as_ref());
        if !self.owns(&container) || labels.and_then(names::spec_hash) != Some(spec.hash()) {
            return Err(DriverError::Conflict);
        }
        match container.state.as_ref().map(observe::running_state) {
            Some(Running::Running | Running::Exited(_)) => Ok(()),
            // Started twice at once, the engine answers the second with "not modified". Whether an earlier call came as far
            // as the files is not known: they are put there again.
            Some(Running::Starting) | None => {
                self.put_files(name, spec).await?;
                self.put_access(spec).await?;
                self.start(name, spec).await
            }
        }
    }

    /// Waits until somebody else's removal is through.
    async fn wait_until_gone(&self, container: &str) -> Result<(), DriverError> {
        loop {
            let inspect = self.engine.client()?.inspect_container(container, None::<InspectContainerOptions>);
            match within(INSPECT, inspect).await? {
                Err(error) if is_status(&error, 404) => return Ok(()),
                Err(error) => return Err(from_bollard(&error)),
                Ok(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Where the workload's process is; `None` if it does not run.
    pub(crate) async fn process(&self, id: WorkloadId) -> Result<Option<Process>, DriverError> {
        if let Some(known) = self.processes.lock().get(&id) {
            return Ok(Some(known.clone()));
        }
        let Some(container) = self.find(id).await? else { return Ok(None) };
        let state = container.state.unwrap_or_default();
        let Some(pid) = state.pid.filter(|pid| *pid > 0 && state.running == Some(true)) else {
            return Ok(None);
        };
        let container: Arc<str> = container.id.unwrap_or_default().into();
        let is_local = matches!(self.engine.config().endpoint, Endpoint::Unix(_));
        let here = is_local && !container.is_empty() && sockets::is_ours(pid, &container);
        let process = if here { Process::Here { pid, container } } else { Process::Elsewhere };
        self.processes.lock().insert(id, process.clone());
        Ok(Some(process))
    }

    /// Forgets where a workload's process was: it has ended, and its number may be somebody else's by now.
    pub(crate) fn forget_process(&self, id: WorkloadId) {
        self.processes.lock().remove(&id);
    }

    /// Forgets the processes of all other workloads.
    pub(crate) fn keep_processes(&self, running: &HashSet<WorkloadId>) {
        self.processes.lock().retain(|id, _| running.contains(id));
    }

    /// The workloads that are known to run on this machine.
    pub(crate) fn known_here(&self) -> Vec<WorkloadId> {
        let processes = self.processes.lock();
        let here = processes.iter().filter(|(_, process)| matches!(process, Process::Here { .. }));
        here.map(|(id, _)| *id).collect()
    }

    pub(crate) const fn host(&self) -> &HostId {
        &self.host
    }

    /// The engine's list of this host's containers.
    pub(crate) async fn summaries(&self) -> Result<Vec<ContainerSummary>, DriverError> {
        self.engine.ready().await?;
        let options = ListContainersOptionsBuilder::default().all(true).filters(&self.filters()).build();
        let list = self.engine.client()?.list_containers(Some(options));
        self.engine.light(LIST, list).await?.map_err(|error| from_bollard(&error))
    }

    /// Tries TCP ports from outside. A UDP port cannot be tried: it counts as open.
    async fn answers_remotely(&self, ports: &[PortPublish]) -> bool {
        let host = self.engine.config().endpoint.remote_host().unwrap_or("127.0.0.1");
        for port in ports.iter().filter(|port| port.transport == Transport::Tcp) {
            if !answers_tcp(host, port.external).await {
                return false;
            }
        }
        true
    }

    fn measure(total_cpus: Option<i64>, total_memory: Option<i64>) -> Option<Resources> {
        let cpu = u32::try_from(total_cpus?.checked_mul(CpuUnits::ONE.0.into())?).ok()?;
        let memory = u32::try_from(total_memory? / (1024 * 1024)).ok()?;
        Some(Resources { cpu: CpuUnits(cpu), memory: MemoryMib(memory) })
    }
}

#[async_trait]
impl Driver for DockerDriver {
    async fn info(&self) -> Result<DriverInfo, DriverError> {
        let ready = self.engine.ready().await?;
        Ok(DriverInfo {
            kind: "docker",
            version: ready.version.clone(),
            takes_host_ports: true,
            sees_udp_sockets: matches!(self.engine.config().endpoint, Endpoint::Unix(_)),
            host_deadlines: false,
        })
    }

    async fn probe(&self) -> Result<HostProbe, DriverError> {
        let guard = self.engine.guard().await?;
        let client = self.engine.client()?;
        let info = self.engine.light(LIST, client.info()).await?.map_err(|e| from_bollard(&e))?;
        let images = client.list_images(None::<ListImagesOptions>);
        let images = self.engine.light(LIST, images).await?.map_err(|e| from_bollard(&e))?;
        let is_local = matches!(self.engine.config().endpoint, Endpoint::Unix(_));
        let root = info.docker_root_dir.filter(|_| is_local);
        let disk = root.and_then(|root| rustix::fs::statvfs(root.as_str()).ok());
        let mut cached_images: Vec<String> = images
            .into_iter()
            .flat_map(|image| image.repo_tags.into_iter().chain(image.repo_digests))
            .filter(|name| !name.contains("<none>"))
            .flat_map(pull::spellings)
            .collect();
        cached_images.sort_unstable();
        Ok(HostProbe {
            total: Self::measure(info.ncpu, info.mem_total),
            free_disk_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            cached_images,
            filters_clients: guard == GuardState::InForce,
        })
    }

    async fn prepare(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        refresh: bool,
        progress: Progress<'_>,
    ) -> Result<(), DriverError> {
        self.engine.ready().await?;
        let client = self.engine.client()?;
        if !refresh {
            match self.engine.light(INSPECT, client.inspect_image(image)).await? {
                Ok(_) => return Ok(()),
                Err(error) if is_status(&error, 404) => {}
                Err(error) => return Err(from_bollard(&error)),
            }
        }
        pull::pull(client, image, credentials, progress).await
    }

    async fn ensure(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        // On the heap: the client's futures are large.
        let files = if spec.files.is_empty() { Duration::ZERO } else { FILES };
        self.engine.heavy(CREATE + files + START, Box::pin(self.create_and_start(spec))).await?
    }

    async fn stop(&self, id: WorkloadId, _grace: Duration) -> Result<(), DriverError> {
        let Some(container) = self.find(id).await? else { return Ok(()) };
        let options = KillContainerOptionsBuilder::default().signal("SIGTERM").build();
        let container = container.id.unwrap_or_default();
        match self.engine.light(KILL, self.engine.client()?.kill_container(&container, Some(options))).await?
        {
            // Gone, or not running.
            Err(error) if is_status(&error, 404) || is_status(&error, 409) => Ok(()),
            Err(error) => Err(from_bollard(&error)),
            Ok(()) => Ok(()),
        }
    }

    async fn remove(&self, id: WorkloadId) -> Result<(), DriverError> {
        self.forget_process(id);
        let Some(container) = self.find(id).await? else { return Ok(()) };
        let container = container.id.unwrap_or_default();
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let remove = async {
            match self.engine.client()?.remove_container(&container, Some(options)).await {
                Ok(()) => Ok(()),
                Err(error) if is_status(&error, 404) => Ok(()),
                // A removal is in progress already.
                Err(error) if is_status(&error, 409) => self.wait_until_gone(&container).await,
                Err(error) => Err(from_bollard(&error)),
            }
        };
        self.engine.heavy(REMOVE, Box::pin(remove)).await??;
        // After the container, so that its ports are never open for all. What fails here a later call sets right.
        if let Err(error) = self.engine.set_access(&[], Box::pin(self.all_workloads())).await {
            tracing::warn!(workload.id = %id, %error, "the access list of a removed workload is still in force");
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        let containers = self.summaries().await?;
        let mut found = Vec::with_capacity(containers.len());
        let mut ended = Vec::new();
        for container in &containers {
            match observe::summary(container, &self.host) {
                Some(observed) => found.push(observed),
                None => ended.extend(container.labels.as_ref().and_then(names::workload)),
            }
        }
        // A list does not tell how a container ended. One that is gone by now is no longer part of it.
        let ended = stream::iter(ended).map(|id| self.inspect(id)).buffer_unordered(INSPECTS_AT_ONCE);
        found.extend(ended.try_filter_map(|observed| async { Ok(observed) }).try_collect::<Vec<_>>().await?);
        Ok(found)
    }

    async fn inspect(&self, id: WorkloadId) -> Result<Option<Observed>, DriverError> {
        Ok(self.find(id).await?.and_then(|container| observe::inspected(&container, &self.host)))
    }

    async fn listening(&self, id: WorkloadId, ports: &[PortPublish]) -> Result<bool, DriverError> {
        match self.process(id).await? {
            None => Ok(false),
            Some(Process::Elsewhere) => Ok(self.answers_remotely(ports).await),
            Some(Process::Here { pid, container }) => {
                let open = sockets::all_open(pid, ports).filter(|_| sockets::is_ours(pid, &container));
                if open.is_none() {
                    self.forget_process(id);
                }
                Ok(open.unwrap_or(false))
            }
        }
    }

    async fn set_access(&self, lists: &[AccessList]) -> Result<(), DriverError> {
        self.engine.ready().await?;
        self.engine.set_access(lists, Box::pin(self.all_workloads())).await
    }

    async fn access(&self) -> Result<Vec<AccessList>, DriverError> {
        self.engine.access().await
    }

    async fn address(&self, id: WorkloadId) -> Result<Option<IpAddr>, DriverError> {
        let Some(container) = self.find(id).await? else { return Ok(None) };
        let runs = container.state.as_ref().map(observe::running_state) == Some(Running::Running);
        let network = names::network(&self.engine.config().installation);
        let networks = container.network_settings.and_then(|settings| settings.networks);
        let ours = networks.and_then(|mut networks| networks.remove(&network));
        Ok(ours.and_then(|ours| ours.ip_address?.parse().ok()).filter(|_| runs))
    }

    async fn watch(&self) -> Result<HintStream, DriverError> {
        self.engine.ready().await?;
        let client = self.engine.client()?;
        let info = self.engine.light(LIST, client.info()).await?.map_err(|error| from_bollard(&error))?;
        let since = info.system_time.as_deref().and_then(observe::timestamp);
        Ok(streams::hints(client, &self.engine.config().installation, &self.host, since))
    }

    async fn logs(&self, id: WorkloadId, from: LogFrom, follow: bool) -> Result<LogStream, DriverError> {
        let container =
            self.find(id).await?.and_then(|container| container.id).ok_or(DriverError::Missing)?;
        let open = streams::logs(self.engine.client()?, &container, from, follow);
        tokio::time::timeout(LOGS, open).await.map_err(|_| DriverError::Timeout)?
    }

    async fn stats(&self, id: WorkloadId) -> Result<Stats, DriverError> {
        self.engine.ready().await?;
        let name = self.name(id);
        self.engine.stats(STATS, streams::stats(self.engine.client()?, &name)).await
    }

    async fn stats_all(&self) -> Result<Vec<(WorkloadId, Stats)>, DriverError> {
        // On the heap: the client's futures are large.
        Box::pin(self.all_figures()).await
    }
}

/// Gives a call its own deadline inside of a place that is held already.
async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<Result<T, Error>, DriverError> {
    tokio::time::timeout(deadline, call).await.map_err(|_| DriverError::Timeout)
}

fn is_status(error: &Error, status: u16) -> bool {
    answer(error).is_some_and(|(found, _)| found == status)
}

/// Whether something behind the port takes a connection. A proxy takes it for a closed port too, and hangs up at once.
async fn answers_tcp(host: &str, port: u16) -> bool {
    let Ok(Ok(mut stream)) = tokio::time::timeout(REMOTE_PORT, TcpStream::connect((host, port))).await else {
        return false;
    };
    match tokio::time::timeout(HANG_UP, stream.read(&mut [0; 1])).await {
        Ok(Ok(0) | Err(_)) => false,
        // It has something to say, or waits for us to speak.
        Ok(Ok(_)) | Err(_) => true,
    }
}
