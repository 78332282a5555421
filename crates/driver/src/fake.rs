//! A driver that only pretends: `driver = "fake"`.
//!
//! What it is for: trying Spawnpoint without containers, load runs, and every in-process test. It keeps the contract
//! of [`crate::Driver`] (the conformance suite runs against it) and costs next to nothing: a hundred thousand
//! workloads, thousands of starts a second, no thread, a timer only where a behaviour asks for a delay. Under tokio's
//! paused time it is deterministic.
//!
//! What it must not know: the store, the engine.
//!
//! Entry points: [`FakeDriver::new`]; [`behaviour`] for what an image name can ask for; [`FakeEngine`] for faults.
//!
//! A fake engine lives in the process: its workloads end with it. So that a restarted control plane does not find its
//! rows without workloads, it tells the driver which ones were live ([`FakeDriver::remember`]).

pub mod behaviour;
mod engine;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::{HostId, InstallationId, Timestamp, WorkloadId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

pub use behaviour::Behaviour;
use behaviour::Pull;
pub use engine::{FakeClock, FakeConfig, FakeEngine};
use engine::{Image, Started};

use crate::{
    AccessList, Credentials, Driver, DriverError, DriverInfo, Hint, HintStream, HostProbe, LogChunk, LogFrom,
    LogStream, Observed, PortPublish, Progress, Running, Stats, WorkloadSpec,
};

/// After how long a pull without progress is cut.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// How SIGKILL leaves a process.
const SIGKILLED: Exit = Exit { code: 137, oom: false, disk: false };
/// Of the lines of a fake workload, each one of so many goes to standard error.
const STDERR_EVERY: u32 = 5;
/// What every fake workload seems to hold, unless [`FakeEngine::set_stats`] says otherwise.
const MEMORY_BYTES: u64 = 4 * 1024 * 1024;

/// The operations of a driver, for faults and counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// [`Driver::info`]
    Info,
    /// [`Driver::probe`]
    Probe,
    /// [`Driver::prepare`]
    Prepare,
    /// [`Driver::ensure`]
    Ensure,
    /// [`Driver::stop`]
    Stop,
    /// [`Driver::remove`]
    Remove,
    /// [`Driver::list`]
    List,
    /// [`Driver::inspect`]
    Inspect,
    /// [`Driver::listening`]
    Listening,
    /// [`Driver::watch`]
    Watch,
    /// [`Driver::logs`]
    Logs,
    /// [`Driver::stats`]
    Stats,
    /// [`Driver::stats_all`]
    StatsAll,
    /// [`Driver::set_access`]
    SetAccess,
    /// [`Driver::access`]
    Access,
}

impl Op {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Info,
        Self::Probe,
        Self::Prepare,
        Self::Ensure,
        Self::Stop,
        Self::Remove,
        Self::List,
        Self::Inspect,
        Self::Listening,
        Self::Watch,
        Self::Logs,
        Self::Stats,
        Self::StatsAll,
        Self::SetAccess,
        Self::Access,
    ];

    /// The deadline of a call, as a real driver would have it.
    const fn deadline(self) -> Duration {
        match self {
            Self::Ensure | Self::Remove | Self::Prepare => Duration::from_secs(60),
            Self::Inspect | Self::Listening => Duration::from_secs(5),
            _ => Duration::from_secs(10),
        }
    }
}

/// A fault that is waiting for its call.
#[derive(Clone, Debug)]
enum Fault {
    Fail(DriverError),
    LoseReply,
    Hang,
    Late(Duration),
}

/// What becomes of the answer of a call whose effect takes place.
#[derive(Clone, Copy)]
enum Reply {
    Given,
    Lost,
    Late(Duration),
}

/// A driver for one host on a [`FakeEngine`]. Clones share the engine.
#[derive(Clone)]
pub struct FakeDriver {
    engine: Arc<FakeEngine>,
    host: HostId,
    /// The engine's number for this host of this installation.
    owner: u32,
}

impl fmt::Debug for FakeDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeDriver({})", self.host)
    }
}

impl FakeDriver {
    /// A driver on an engine of its own.
    #[must_use]
    pub fn new(installation: &InstallationId, host: HostId, config: FakeConfig) -> Self {
        Self::on(FakeEngine::new(config), installation, host)
    }

    /// A driver on an engine that others may use too, or that has survived its last driver.
    #[must_use]
    pub fn on(engine: Arc<FakeEngine>, installation: &InstallationId, host: HostId) -> Self {
        let owner = engine.owner(installation, &host);
        Self { engine, host, owner }
    }

    /// The engine behind it: faults, scripts, counts.
    #[must_use]
    pub const fn engine(&self) -> &Arc<FakeEngine> {
        &self.engine
    }

    /// Pretends that these workloads have been running all along. Those of other hosts are passed over. Called at
    /// start with the live rows, because a fake engine dies with its process and a real one does not. A remembered
    /// workload publishes no ports of its own and takes the first spec it is ensured with.
    pub fn remember(&self, live: impl IntoIterator<Item = (WorkloadId, HostId)>) {
        for (id, _) in live.into_iter().filter(|(_, host)| *host == self.host) {
            self.engine.remember(self.owner, id);
        }
    }

    /// Counts the call and plays the fault that waits for it.
    async fn begin(&self, op: Op) -> Result<Reply, DriverError> {
        match self.engine.count(op)? {
            None => Ok(Reply::Given),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::LoseReply) => Ok(Reply::Lost),
            Some(Fault::Late(after)) => Ok(Reply::Late(after)),
            Some(Fault::Hang) => {
                tokio::time::sleep(op.deadline()).await;
                Err(DriverError::Timeout)
            }
        }
    }

    /// A call that only reads: a lost answer is all that can go wrong with it.
    async fn begin_reading(&self, op: Op) -> Result<(), DriverError> {
        match self.begin(op).await? {
            Reply::Given => Ok(()),
            Reply::Lost | Reply::Late(_) => Err(DriverError::Timeout),
        }
    }

    /// Carries out an effect now or later, and answers accordingly.
    fn carry_out(reply: Reply, effect: impl FnOnce() + Send + 'static) -> Result<(), DriverError> {
        match reply {
            Reply::Given => {
                effect();
                return Ok(());
            }
            Reply::Lost => effect(),
            Reply::Late(after) => {
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    effect();
                });
            }
        }
        Err(DriverError::Timeout)
    }
}

#[async_trait]
impl Driver for FakeDriver {
    async fn info(&self) -> Result<DriverInfo, DriverError> {
        self.begin_reading(Op::Info).await?;
        Ok(DriverInfo {
            kind: "fake",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            takes_host_ports: true,
            sees_udp_sockets: true,
            host_deadlines: self.engine.config.host_deadlines,
        })
    }

    async fn probe(&self) -> Result<HostProbe, DriverError> {
        self.begin_reading(Op::Probe).await?;
        Ok(HostProbe {
            total: self.engine.config.total,
            free_disk_bytes: None,
            cached_images: self.engine.cached_images(),
            filters_clients: self.engine.has_access_lists(),
        })
    }

    async fn prepare(
        &self,
        image: &str,
        _credentials: Option<&Credentials>,
        refresh: bool,
        progress: Progress<'_>,
    ) -> Result<(), DriverError> {
        self.begin_reading(Op::Prepare).await?;
        let (known, cached) = self.engine.image(image);
        if cached && !refresh {
            return Ok(());
        }
        progress(0, Some(MEMORY_BYTES));
        if !known.behaviour.pull_delay.is_zero() {
            tokio::time::sleep(known.behaviour.pull_delay).await;
        }
        match known.behaviour.pull {
            Pull::Works => {
                progress(MEMORY_BYTES, Some(MEMORY_BYTES));
                self.engine.load_image(image);
                Ok(())
            }
            Pull::Unknown => Err(refused("the registry does not know the image", true)),
            Pull::Fails => Err(refused("the registry does not answer", false)),
            Pull::Stalls => Err(DriverError::PullTimeout),
        }
    }

    async fn ensure(&self, spec: &WorkloadSpec) -> Result<(), DriverError> {
        let reply = self.begin(Op::Ensure).await?;
        if let Reply::Late(_) = reply {
            let (engine, spec) = (Arc::clone(&self.engine), spec.clone());
            return Self::carry_out(reply, move || drop(engine.ensure(&spec)));
        }
        let answer = match self.engine.ensure(spec) {
            Started::Now(answer) => answer,
            Started::At(when) => {
                tokio::time::sleep_until(when).await;
                Ok(())
            }
            Started::Never => {
                tokio::time::sleep(Op::Ensure.deadline()).await;
                Err(DriverError::Timeout)
            }
        };
        if matches!(reply, Reply::Lost) { Err(DriverError::Timeout) } else { answer }
    }

    async fn stop(&self, id: WorkloadId, grace: Duration) -> Result<(), DriverError> {
        let reply = self.begin(Op::Stop).await?;
        let (engine, owner) = (Arc::clone(&self.engine), self.owner);
        Self::carry_out(reply, move || engine.terminate(owner, id, grace))
    }

    async fn remove(&self, id: WorkloadId) -> Result<(), DriverError> {
        let reply = self.begin(Op::Remove).await?;
        let (engine, owner) = (Arc::clone(&self.engine), self.owner);
        Self::carry_out(reply, move || engine.remove(owner, id))
    }

    async fn list(&self) -> Result<Vec<Observed>, DriverError> {
        self.begin_reading(Op::List).await?;
        Ok(self.engine.list(self.owner, &self.host))
    }

    async fn inspect(&self, id: WorkloadId) -> Result<Option<Observed>, DriverError> {
        self.begin_reading(Op::Inspect).await?;
        let now = Instant::now();
        Ok(self.engine.find(self.owner, id, |w| w.observed(id, &self.host, now)))
    }

    async fn listening(&self, id: WorkloadId, _ports: &[PortPublish]) -> Result<bool, DriverError> {
        self.begin_reading(Op::Listening).await?;
        let now = Instant::now();
        Ok(self.engine.find(self.owner, id, |w| w.listens(now)).unwrap_or(false))
    }

    async fn set_access(&self, lists: &[AccessList]) -> Result<(), DriverError> {
        let reply = self.begin(Op::SetAccess).await?;
        if !self.engine.has_access_lists() && !lists.is_empty() {
            return Err(DriverError::Unsupported);
        }
        let (engine, owner, lists) = (Arc::clone(&self.engine), self.owner, lists.to_vec());
        Self::carry_out(reply, move || engine.set_access(owner, lists))
    }

    async fn access(&self) -> Result<Vec<AccessList>, DriverError> {
        self.begin_reading(Op::Access).await?;
        Ok(self.engine.access(self.owner))
    }

    async fn address(&self, id: WorkloadId) -> Result<Option<IpAddr>, DriverError> {
        self.begin_reading(Op::Inspect).await?;
        let now = Instant::now();
        Ok(self.engine.find(self.owner, id, |w| w.listens(now)).map(|_| Ipv4Addr::LOCALHOST.into()))
    }

    async fn watch(&self) -> Result<HintStream, DriverError> {
        self.begin_reading(Op::Watch).await?;
        let hints = stream::unfold(self.engine.watch(), |mut hints| async move {
            match hints.recv().await {
                Ok(Some(hint)) => Some((hint, hints)),
                Err(RecvError::Lagged(_)) => Some((Hint::Resync, hints)),
                // The engine was cut off, or is gone.
                Ok(None) | Err(RecvError::Closed) => None,
            }
        });
        Ok(stream::once(async { Hint::Resync }).chain(hints).boxed())
    }

    async fn logs(&self, id: WorkloadId, from: LogFrom, follow: bool) -> Result<LogStream, DriverError> {
        self.begin_reading(Op::Logs).await?;
        // Subscribed before the first look, so that an end in between is not missed.
        let mut hints = self.engine.watch();
        let seen = self
            .engine
            .find(self.owner, id, |w| (Arc::clone(&w.image), w.started_at(), Arc::clone(&w.last_words)));
        let Some((image, started_at, last_words)) = seen else {
            return Err(DriverError::Missing);
        };
        let head = match (from, started_at) {
            (LogFrom::Since(since), Some(started)) if started < since => Vec::new(),
            (LogFrom::Tail(bytes), _) => last_lines(log_lines(id, &image, started_at), bytes),
            _ => log_lines(id, &image, started_at),
        };
        let clock = self.engine.config.clock.clone();
        let (engine, owner) = (Arc::clone(&self.engine), self.owner);
        let tail = async move {
            loop {
                let state = engine.find(owner, id, |w| w.state(Instant::now()));
                match state.or_else(|| last_words.get().copied().map(Running::Exited)) {
                    Some(Running::Exited(exit)) => {
                        let now = clock.map(|clock| clock());
                        return Some(chunk(format!("fake: exited with {}\n", exit.code), now));
                    }
                    Some(Running::Starting | Running::Running) if follow => {}
                    _ => return None,
                }
                if let Ok(None) | Err(RecvError::Closed) = hints.recv().await {
                    return Some(Err(DriverError::Unavailable("the fake engine was cut off".to_owned())));
                }
            }
        };
        Ok(stream::iter(head.into_iter().map(Ok))
            .chain(stream::once(tail).filter_map(|end| async { end }))
            .boxed())
    }

    async fn stats(&self, id: WorkloadId) -> Result<Stats, DriverError> {
        self.begin_reading(Op::Stats).await?;
        let stats = self.engine.stats(self.owner, id);
        stats.ok_or(DriverError::Missing)
    }

    async fn stats_all(&self) -> Result<Vec<(WorkloadId, Stats)>, DriverError> {
        self.begin_reading(Op::StatsAll).await?;
        Ok(self.engine.all_stats(self.owner))
    }
}

fn refused(detail: &str, permanent: bool) -> DriverError {
    DriverError::ImageUnavailable { detail: detail.to_owned(), permanent }
}

fn log_lines(id: WorkloadId, image: &Image, at: Option<Timestamp>) -> Vec<LogChunk> {
    let line = |n: u32| LogChunk {
        at,
        stderr: n.is_multiple_of(STDERR_EVERY),
        bytes: Bytes::from(format!("fake: {id} runs {}, line {n}\n", image.name)),
    };
    (1..=image.behaviour.log_lines).map(line).collect()
}

/// As many of the last lines as it takes for so many bytes.
fn last_lines(mut lines: Vec<LogChunk>, bytes: usize) -> Vec<LogChunk> {
    let mut held = 0;
    let needed = lines.iter().rev().take_while(|line| {
        let wanted = held < bytes;
        held += line.bytes.len();
        wanted
    });
    let needed = needed.count();
    lines.drain(..lines.len() - needed);
    lines
}

fn chunk(text: String, at: Option<Timestamp>) -> Result<LogChunk, DriverError> {
    Ok(LogChunk { at, stderr: false, bytes: Bytes::from(text) })
}
