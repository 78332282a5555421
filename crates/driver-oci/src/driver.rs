//! The driver contract on one host of this machine.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use spawnpoint_driver::{
    AccessList, Credentials, Driver, DriverError, DriverInfo, HintStream, HostProbe, LogFrom, LogStream,
    Observed, PortPublish, Progress, Running, Stats, WorkloadSpec,
};
use spawnpoint_images::{Image, PullOptions, Reference};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{HostId, Timestamp, Transport, WorkloadId};
use spawnpoint_network::Port;
use tokio::time::Instant;

use crate::engine::OciEngine;
use crate::error::{from_network, from_pull, from_refusal, from_store};
use crate::profile::{self, Surroundings};
use crate::protocol::{Reply, Request};
use crate::records::{self, ExitRecord, SpecRecord, StateRecord};
use crate::{client, disk, host, logs, sockets, supervisor, watch};

/// For a whole start, with all waiting.
const START: Duration = Duration::from_secs(60);
/// For a supervisor's answer to a start.
const STARTED: Duration = Duration::from_secs(30);
/// For a removal.
const REMOVE: Duration = Duration::from_secs(30);
/// For a word of a supervisor.
const WORD: Duration = Duration::from_secs(5);
/// Between two looks at something that somebody else is doing.
const AGAIN: Duration = Duration::from_millis(5);
/// A start is asked for again so often if whoever was asked is lost.
const TRIES: usize = 3;
/// Between two looks at something that takes less than a timer's tick.
const AT_ONCE: Duration = Duration::from_micros(100);
/// So many looks are taken, some 5 ms.
const LOOKS: usize = 30;
/// A program that was started so many microseconds ago may be about to listen: it is not said at once that it does not.
const YOUNG: i64 = 20_000;
/// The janitor comes this often, when somebody looks at everything.
const TIDY: Duration = Duration::from_secs(60);

/// One host of the config, on this machine's embedded runtime.
pub struct OciDriver {
    engine: Arc<OciEngine>,
    host: HostId,
    tidied: Mutex<Instant>,
}

impl std::fmt::Debug for OciDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OciDriver({})", self.host)
    }
}

/// How far a workload has come.
enum Stage {
    /// Its folder is there, nothing runs, and nobody is at it.
    Made,
    /// Somebody is starting it.
    UnderWay,
    /// Its first process runs.
    Runs(StateRecord),
    /// It has ended.
    Ended(Option<StateRecord>, ExitRecord),
}

fn internal(error: impl std::fmt::Display) -> DriverError {
    DriverError::Internal(error.to_string())
}

fn from_io(error: &io::Error) -> DriverError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DriverError::NoCapacity(error.to_string())
        }
        _ => internal(error),
    }
}

/// Looks at a workload's folder.
fn stage(dir: &Path) -> io::Result<Stage> {
    // The end is looked at last and first: it is written while we read.
    for _ in 0..2 {
        let exit = records::read::<ExitRecord>(dir, records::EXIT)?;
        let state = records::read::<StateRecord>(dir, records::STATE)?;
        match (exit, state) {
            (Some(exit), state) => return Ok(Stage::Ended(state, exit)),
            (None, Some(state)) if state.is_alive() => return Ok(Stage::Runs(state)),
            (None, None) => {
                return Ok(if records::is_locked(dir)? { Stage::UnderWay } else { Stage::Made });
            }
            // It has just ended: its supervisor writes that down now, if it lives.
            (None, Some(state)) => {
                if !records::is_locked(dir)? && !dir.join(records::EXIT).exists() {
                    return Ok(Stage::Ended(Some(state), records::LOST));
                }
                if !dir.join(records::EXIT).exists() {
                    return Ok(Stage::Runs(state));
                }
            }
        }
    }
    Ok(Stage::Made)
}

fn to_ports(ports: &[PortPublish]) -> Vec<Port> {
    let port = |port: &PortPublish| Port {
        transport: port.transport,
        external: port.external,
        internal: port.internal,
    };
    ports.iter().map(port).collect()
}

fn from_ports(ports: &[Port]) -> Vec<PortPublish> {
    let publish = |port: &Port| PortPublish {
        internal: port.internal,
        external: port.external,
        transport: port.transport,
    };
    let mut all: Vec<PortPublish> = ports.iter().map(publish).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl OciDriver {
    /// A host on this engine.
    #[must_use]
    pub fn new(engine: Arc<OciEngine>, host: HostId) -> Self {
        Self { engine, host, tidied: Mutex::new(Instant::now()) }
    }

    /// The engine that it shares with other hosts.
    #[must_use]
    pub const fn engine(&self) -> &Arc<OciEngine> {
        &self.engine
    }

    /// The record of a workload of this host.
    fn record(&self, id: WorkloadId) -> Result<Option<SpecRecord>, DriverError> {
        let record = records::read::<SpecRecord>(&self.engine.folder(id), records::SPEC);
        let record = record.map_err(|error| from_io(&error))?;
        Ok(record.filter(|record| self.owns(record)))
    }

    fn owns(&self, record: &SpecRecord) -> bool {
        record.host == self.host.as_str() && record.installation == self.engine.config.installation.as_str()
    }

    fn look(&self, id: WorkloadId) -> Result<Option<Observed>, DriverError> {
        let Some(record) = self.record(id)? else { return Ok(None) };
        let dir = self.engine.folder(id);
        let stage = match stage(&dir) {
            Ok(stage) => stage,
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(from_io(&error)),
        };
        let started = |state: &StateRecord| Timestamp(state.started_at);
        let (state, started_at) = match &stage {
            Stage::Made | Stage::UnderWay => (Running::Starting, None),
            Stage::Runs(state) => (Running::Running, Some(started(state))),
            Stage::Ended(state, exit) => (
                Running::Exited(Exit { code: exit.code, oom: exit.oom, disk: exit.disk }),
                state.as_ref().map(started),
            ),
        };
        let port = |(internal, external, udp): &(u16, u16, bool)| PortPublish {
            internal: *internal,
            external: *external,
            transport: if *udp { Transport::Udp } else { Transport::Tcp },
        };
        Ok(Some(Observed {
            id,
            host: self.host.clone(),
            state,
            started_at,
            image_digest: Some(record.image_digest.clone()),
            spec_hash: record.hash.parse().ok(),
            ports: record.ports.iter().map(port).collect(),
        }))
    }

    async fn start(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        spec.check_files().map_err(DriverError::Invalid)?;
        let _alone = self.engine.alone(spec.id).await;
        let dir = self.engine.folder(spec.id);
        let record = records::read::<SpecRecord>(&dir, records::SPEC).map_err(|error| from_io(&error))?;
        if let Some(record) = record {
            if !self.owns(&record) || record.hash != spec.hash().to_string() {
                return Err(DriverError::Conflict);
            }
            loop {
                match stage(&dir).map_err(|error| from_io(&error))? {
                    Stage::Runs(_) | Stage::Ended(..) => return Ok(()),
                    // A supervisor that was asked before we were restarted.
                    Stage::UnderWay => tokio::time::sleep(AGAIN).await,
                    Stage::Made => break,
                }
            }
        }
        let image = self.engine.images.find(&spec.image).ok_or(DriverError::ImageMissing)?;
        self.engine.config.disk.room(&self.engine.config.dir)?;
        let made = self.make(spec, &image, &dir).await;
        match made {
            Ok(()) => {
                self.engine.hint(spec.id);
                Ok(())
            }
            // Its supervisor may still come to the start: it is found again by the next call.
            Err(DriverError::Timeout) => Err(DriverError::Timeout),
            Err(error) => {
                if let Err(left) = self.clear(spec.id).await {
                    tracing::warn!(workload.id = %spec.id, error = %left, "a start that failed is not cleared yet");
                }
                Err(error)
            }
        }
    }

    async fn make(&self, spec: &WorkloadSpec, image: &Image, dir: &Path) -> Result<(), DriverError> {
        self.make_folder(spec, image, dir).map_err(|error| from_io(&error))?;
        let holder = self.engine.holder_name(spec.id);
        self.engine.images.hold(&image.digest, &holder).map_err(|error| from_store(&error))?;
        let slot = self.engine.network.lease(spec.id).await.map_err(from_network)?;
        let mut addresses = vec![IpAddr::V4(slot.address)];
        addresses.extend(slot.address6.map(IpAddr::V6));
        let around = Surroundings { dir: dir.to_owned(), addresses, resolv: host::resolv_conf() };
        let start = profile::start(spec, image, around)?;
        let ports = to_ports(&spec.ports);
        // In force before it starts: nobody else comes in, and nothing that clients send is led elsewhere.
        let published = self.engine.network.publish(spec.id, &ports, spec.access.as_deref());
        published.await.map_err(from_network)?;
        let contents: Vec<&[u8]> = spec.files.iter().map(|file| &file.content[..]).collect();
        let request = Request::Start(Box::new(start));
        let ask = || self.engine.client.ask(&request, &contents, Some(slot.netns.as_fd()), STARTED);
        let mut reply = ask().await;
        for _ in 0..TRIES {
            if !matches!(reply, Err(DriverError::Unavailable(_))) {
                break;
            }
            // The zygote or the supervisor that was asked has been killed: how far it came stands on disk.
            self.engine.client.ready().await?;
            match stage(dir).map_err(|error| from_io(&error))? {
                Stage::Made => reply = ask().await,
                Stage::Runs(_) | Stage::Ended(..) => return Ok(()),
                Stage::UnderWay => return Err(DriverError::Timeout),
            }
        }
        match reply? {
            Reply::Started => Ok(()),
            Reply::Failed(refusal) => Err(from_refusal(refusal)),
            Reply::Hello { .. } | Reply::Quitting => Err(internal("the supervisor gives another answer")),
        }
    }

    /// The folder of a workload, as new.
    fn make_folder(&self, spec: &WorkloadSpec, image: &Image, dir: &Path) -> io::Result<()> {
        self.engine.discard(dir)?;
        let draft = self.engine.containers().join(format!(".{}", spec.id));
        let _ = fs::remove_dir_all(&draft);
        fs::create_dir(&draft)?;
        let upper = draft.join(records::UPPER);
        fs::create_dir(&upper)?;
        // What the root directory of the container looks like.
        std::os::unix::fs::chown(&upper, Some(image.root.uid), Some(image.root.gid))?;
        fs::set_permissions(&upper, fs::Permissions::from_mode(image.root.mode & 0o7777))?;
        fs::create_dir(draft.join(records::WORK))?;
        disk::bind(&self.engine, &draft)?;
        let ports = spec.ports.iter();
        let record = SpecRecord {
            installation: spec.installation.to_string(),
            host: spec.host.to_string(),
            hash: spec.hash().to_string(),
            image_digest: image.digest.to_string(),
            ports: ports.map(|p| (p.internal, p.external, p.transport == Transport::Udp)).collect(),
        };
        records::write(&draft, records::SPEC, &record)?;
        fs::rename(&draft, dir)
    }

    /// Ends what runs, and waits until it has.
    async fn end(&self, id: WorkloadId, dir: &Path) -> Result<(), DriverError> {
        let end = Instant::now() + REMOVE;
        loop {
            match stage(dir).map_err(|error| from_io(&error))? {
                Stage::Made => return Ok(()),
                // The lock is held until everything of it is gone.
                Stage::Ended(state, _) => {
                    if !records::is_locked(dir).map_err(|error| from_io(&error))? {
                        self.clear_group(state.as_ref());
                        return Ok(());
                    }
                }
                Stage::UnderWay => {}
                Stage::Runs(state) => {
                    // Without a supervisor we do it ourselves.
                    if !client::command(dir, "kill", WORD).await.or_else(late)? {
                        self.kill(&state);
                    }
                }
            }
            if Instant::now() > end {
                tracing::warn!(workload.id = %id, "a workload does not end");
                return Err(DriverError::Timeout);
            }
            if matches!(stage(dir), Ok(Stage::Made | Stage::Ended(..))) {
                // Its supervisor has said everything, and is on its way out.
                let dir = dir.to_owned();
                let _ = briefly(move || records::is_locked(&dir).is_ok_and(|is_locked| !is_locked)).await;
            } else {
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn kill(&self, state: &StateRecord) {
        if let Some(handle) = supervisor::handle_of(state) {
            // Gone meanwhile is as good.
            let _ = rustix::process::pidfd_send_signal(handle, rustix::process::Signal::KILL);
        }
        self.engine.hierarchies.group(&state.slot).kill();
    }

    /// A group whose supervisor could not take it away.
    fn clear_group(&self, state: Option<&StateRecord>) {
        let Some(state) = state else { return };
        let slot = self.engine.config.run.join("slots").join(&state.slot);
        if slot.exists() {
            let group = self.engine.hierarchies.group(&state.slot);
            group.kill();
            if group.remove() {
                let _ = fs::remove_file(slot);
            }
        }
    }

    /// Frees everything that a workload had. The folder goes last: until then it is found again.
    async fn clear(&self, id: WorkloadId) -> Result<(), DriverError> {
        let dir = self.engine.folder(id);
        self.engine.processes.lock().remove(&id);
        self.end(id, &dir).await?;
        self.engine.network.release(id).await.map_err(from_network)?;
        let record = records::read::<SpecRecord>(&dir, records::SPEC).map_err(|error| from_io(&error))?;
        let digest = record.and_then(|record| record.image_digest.parse().ok());
        if let Some(digest) = digest {
            let holder = self.engine.holder_name(id);
            self.engine.images.release(&digest, &holder).map_err(|error| from_store(&error))?;
        }
        self.engine.discard(&dir).map_err(|error| from_io(&error))
    }

    /// Its first process, if it runs; found in memory most times.
    fn process(&self, id: WorkloadId) -> Result<Option<StateRecord>, DriverError> {
        if let Some(known) = self.engine.processes.lock().get(&id).cloned()
            && records::ticks(known.pid) == Some(known.ticks)
        {
            return Ok(Some(known));
        }
        if self.record(id)?.is_none() {
            return Ok(None);
        }
        match stage(&self.engine.folder(id)) {
            Ok(Stage::Runs(state)) => {
                self.engine.processes.lock().insert(id, state.clone());
                Ok(Some(state))
            }
            _ => {
                self.engine.processes.lock().remove(&id);
                Ok(None)
            }
        }
    }

    async fn figures(&self, id: WorkloadId) -> Result<Option<Stats>, DriverError> {
        if self.record(id)?.is_none() {
            return Ok(None);
        }
        let Some(state) = self.process(id)? else { return Ok(None) };
        let Some(mut stats) = self.engine.hierarchies.group(&state.slot).figures() else { return Ok(None) };
        if let Ok(traffic) = self.engine.network.traffic(id).await {
            (stats.received_bytes, stats.sent_bytes) = (Some(traffic.received), Some(traffic.sent));
        }
        Ok(Some(stats))
    }
}

/// Whether something comes true in a moment. Timers of the runtime tick too slowly for that.
async fn briefly(is_so: impl Fn() -> bool + Send + 'static) -> Result<bool, DriverError> {
    let look = move || {
        (0..LOOKS).any(|_| {
            std::thread::sleep(AT_ONCE);
            is_so()
        })
    };
    tokio::task::spawn_blocking(look).await.map_err(internal)
}

/// A supervisor that does not answer in time is none.
fn late(error: DriverError) -> Result<bool, DriverError> {
    if error == DriverError::Timeout { Ok(false) } else { Err(error) }
}

#[async_trait]
impl Driver for OciDriver {
    async fn info(&self) -> Result<DriverInfo, DriverError> {
        Ok(DriverInfo {
            kind: "oci",
            version: self.engine.describe(),
            takes_host_ports: true,
            sees_udp_sockets: true,
            host_deadlines: true,
        })
    }

    async fn probe(&self) -> Result<HostProbe, DriverError> {
        self.engine.client.ready().await?;
        let mut cached_images: Vec<String> = Vec::new();
        for named in self.engine.images.list().map_err(|error| from_store(&error))? {
            for name in named.names {
                if let Ok(reference) = name.parse::<Reference>() {
                    cached_images.extend(logs::spellings(&reference));
                }
                cached_images.push(name);
            }
        }
        cached_images.sort_unstable();
        cached_images.dedup();
        let disk = rustix::fs::statvfs(&self.engine.config.dir).ok();
        Ok(HostProbe {
            total: host::total(),
            free_disk_bytes: disk.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
            cached_images,
            filters_clients: true,
        })
    }

    async fn prepare(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        refresh: bool,
        progress: Progress<'_>,
    ) -> Result<(), DriverError> {
        let (images, prepared) = (&self.engine.images, &self.engine.prepared);
        if !refresh
            && let Some(found) = images.find(image)
            && images.hold(&found.digest, &prepared.holder).is_ok()
        {
            prepared.note(&found.digest);
            return Ok(());
        }
        self.engine.config.disk.room(&self.engine.config.dir)?;
        let reference: Reference = image.parse().map_err(|error| DriverError::ImageUnavailable {
            detail: format!("The image {image} could not be pulled: {error}"),
            permanent: true,
        })?;
        let credentials = credentials.map(|own| spawnpoint_images::Credentials {
            username: own.username.clone(),
            password: own.token.clone(),
        });
        let told = |now: spawnpoint_images::Progress| progress(now.downloaded, now.total);
        let options =
            PullOptions { progress: Some(&told), holder: Some(&prepared.holder), ..PullOptions::default() };
        let pulled = images.pull(&reference, credentials.as_ref(), &options).await;
        let pulled = pulled.map_err(|error| from_pull(image, &error))?;
        prepared.note(&pulled.digest);
        Ok(())
    }

    async fn ensure(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        self.engine.heavy.run(START, Box::pin(self.start(spec))).await
    }

    async fn stop(&self, id: WorkloadId, grace: Duration) -> Result<(), DriverError> {
        let Some(_) = self.record(id)? else { return Ok(()) };
        let Some(state) = self.process(id)? else { return Ok(()) };
        let command = format!("stop {}", grace.as_millis());
        if !client::command(&self.engine.folder(id), &command, WORD).await?
            && let Some(handle) = supervisor::handle_of(&state)
        {
            // Nobody looks after it any more. Gone meanwhile is as good.
            let _ = rustix::process::pidfd_send_signal(handle, rustix::process::Signal::TERM);
        }
        Ok(())
    }

    async fn remove(&self, id: WorkloadId) -> Result<(), DriverError> {
        let remove = async {
            let _alone = self.engine.alone(id).await;
            if self.record(id)?.is_none() {
                return Ok(());
            }
            self.clear(id).await
        };
        self.engine.heavy.run(REMOVE + WORD, remove).await?;
        self.engine.hint(id);
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        let is_due = {
            let mut tidied = self.tidied.lock();
            let is_due = tidied.elapsed() >= TIDY;
            if is_due {
                *tidied = Instant::now();
            }
            is_due
        };
        if is_due {
            let engine = Arc::clone(&self.engine);
            tokio::spawn(async move { engine.tidy().await });
        }
        // Whoever lost a supervisor has mostly told us by now.
        let engine = Arc::clone(&self.engine);
        tokio::spawn(async move { engine.look_after_orphans().await });
        let own = Self::new(Arc::clone(&self.engine), self.host.clone());
        let list = move || -> Result<Vec<Observed>, DriverError> {
            let folders = own.engine.folders();
            folders.into_iter().filter_map(|id| own.look(id).transpose()).collect()
        };
        tokio::task::spawn_blocking(list).await.map_err(internal)?
    }

    async fn inspect(&self, id: WorkloadId) -> Result<Option<Observed>, DriverError> {
        self.look(id)
    }

    async fn listening(&self, id: WorkloadId, ports: &[PortPublish]) -> Result<bool, DriverError> {
        let Some(state) = self.process(id)? else { return Ok(false) };
        // Asked again afterwards: the number may be another's by now.
        let listens = |state: &StateRecord, ports: &[PortPublish]| {
            sockets::all_open(state.pid, ports).unwrap_or(false)
                && records::ticks(state.pid) == Some(state.ticks)
        };
        if listens(&state, ports) {
            return Ok(true);
        }
        let is_young = supervisor::now() - state.started_at < YOUNG;
        match self.engine.lingering.try_acquire() {
            Ok(_place) if is_young => {
                let ports = ports.to_vec();
                briefly(move || listens(&state, &ports)).await
            }
            _ => Ok(false),
        }
    }

    async fn set_access(&self, lists: &[AccessList]) -> Result<(), DriverError> {
        for list in lists {
            let _alone = self.engine.alone(list.id).await;
            // Those of other hosts of this installation as well: each may tell of all.
            if self.engine.folder(list.id).exists() {
                let set = self.engine.network.set_access(list.id, Some(&list.networks)).await;
                match set {
                    Ok(()) | Err(spawnpoint_network::NetworkError::NoLease(_)) => {}
                    Err(error) => return Err(from_network(error)),
                }
            }
        }
        Ok(())
    }

    async fn access(&self) -> Result<Vec<AccessList>, DriverError> {
        let published = self.engine.network.published().await.map_err(from_network)?;
        let mut lists: Vec<AccessList> = Vec::new();
        for one in published {
            let Some(networks) = one.access else { continue };
            // One entry for each of its addresses.
            if !lists.iter().any(|list| list.id == one.id) {
                lists.push(AccessList { id: one.id, ports: from_ports(&one.ports), networks });
            }
        }
        Ok(lists)
    }

    async fn address(&self, id: WorkloadId) -> Result<Option<IpAddr>, DriverError> {
        if self.process(id)?.is_none() {
            return Ok(None);
        }
        Ok(self.engine.network.find(id).map(|slot| IpAddr::V4(slot.address)))
    }

    async fn watch(&self) -> Result<HintStream, DriverError> {
        let own = Self::new(Arc::clone(&self.engine), self.host.clone());
        let is_ours = move |id| {
            let record = records::read::<SpecRecord>(&own.engine.folder(id), records::SPEC);
            // One that is gone was somebody's.
            record.ok().flatten().is_none_or(|record| own.owns(&record))
        };
        Ok(watch::hints(self.engine.hints.subscribe(), is_ours))
    }

    async fn logs(&self, id: WorkloadId, from: LogFrom, follow: bool) -> Result<LogStream, DriverError> {
        if self.record(id)?.is_none() {
            return Err(DriverError::Missing);
        }
        logs::open(self.engine.folder(id), from, follow).await
    }

    async fn stats(&self, id: WorkloadId) -> Result<Stats, DriverError> {
        self.figures(id).await?.ok_or(DriverError::Missing)
    }

    async fn stats_all(&self) -> Result<Vec<(WorkloadId, Stats)>, DriverError> {
        let mut all = Vec::new();
        for id in self.engine.folders() {
            if let Ok(Some(stats)) = self.figures(id).await {
                all.push((id, stats));
            }
        }
        Ok(all)
    }
}
