//! The driver contract: what Spawnpoint asks of anything that runs workloads.
//!
//! What it is for: one small, idempotent trait ([`Driver`]), its errors ([`DriverError`]), a real driver that only
//! pretends ([`fake::FakeDriver`]), and the suite that every driver passes ([`testkit`]).
//!
//! What it must not know: the store, Edgegap, another driver.
//!
//! A driver holds no state that the deployment's row does not have, may be killed at any line, and is asked again
//! afterwards. A workload's id is its idempotency key.

pub mod bulkhead;
pub mod error;
pub mod fake;
pub mod figures;
pub mod spec;
pub mod testkit;

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use spawnpoint_model::deployment::Exit;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Plaintext, Timestamp, WorkloadId};

pub use error::DriverError;
pub use spec::{AccessList, PortPublish, Security, SpecHash, WorkloadFile, WorkloadSpec};

/// What a driver is and can do. Missing abilities are data, not panics.
#[derive(Clone, PartialEq, Debug)]
pub struct DriverInfo {
    /// `docker`, `oci`, `kubernetes` or `fake`.
    pub kind: &'static str,
    /// The engine's version, for people.
    pub version: String,
    /// Spawnpoint leases host ports and puts them into the spec. If false, the driver picks them and `inspect` tells.
    pub takes_host_ports: bool,
    /// [`Driver::listening`] can tell UDP sockets; if not, a UDP port counts as open once the workload runs.
    pub sees_udp_sockets: bool,
    /// The host itself ends a workload at its stop deadline, even while the control plane is away.
    pub host_deadlines: bool,
}

/// How a host is.
#[derive(Clone, PartialEq, Debug)]
pub struct HostProbe {
    /// All there is, measured; `None` = the driver cannot tell.
    pub total: Option<Resources>,
    /// Free disk for images and containers, in bytes.
    pub free_disk_bytes: Option<u64>,
    /// References of the images it holds (`registry/name:tag`).
    pub cached_images: Vec<String>,
    /// Access lists can be put in force there now ([`WorkloadSpec::access`], [`Driver::set_access`]).
    pub filters_clients: bool,
}

/// What a workload is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Running {
    /// Made, not yet running.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended.
    Exited(Exit),
}

/// A workload as the driver sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observed {
    /// Which.
    pub id: WorkloadId,
    /// The host label it carries.
    pub host: spawnpoint_model::HostId,
    /// What it is doing.
    pub state: Running,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
    /// The image it runs, by digest or engine id.
    pub image_digest: Option<String>,
    /// The hash of the spec it was made from.
    pub spec_hash: Option<SpecHash>,
    /// The ports it publishes, from the engine's own view.
    pub ports: Vec<PortPublish>,
}

/// A hint that something changed. Hints may be lost or repeated: a full list runs every so often anyway.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Look at this workload.
    Changed(WorkloadId),
    /// Hints were lost: look at everything.
    Resync,
}

/// Login for a registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Login name.
    pub username: String,
    /// Login secret.
    pub token: Plaintext,
}

/// What a workload has used. Each figure is optional.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Stats {
    /// CPU time since its start, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Memory in use, in bytes, without the page cache.
    pub memory_bytes: Option<u64>,
    /// Bytes received since its start.
    pub received_bytes: Option<u64>,
    /// Bytes sent since its start.
    pub sent_bytes: Option<u64>,
    /// Bytes read from disk since its start.
    pub disk_read_bytes: Option<u64>,
    /// Bytes written to disk since its start.
    pub disk_written_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Time for which its processes were held back by its CPU limit since its start, in microseconds.
    pub throttled_micros: Option<u64>,
    /// How long before the answer the figures were read.
    pub age: Duration,
}

/// From where on a log is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFrom {
    /// From its beginning, as far as the engine still has it.
    Start,
    /// What was written then or later.
    Since(Timestamp),
    /// Its last so many bytes. More may come (whole pieces, or what the engine cannot leave out), never less of what there
    /// is, unless the engine needs seconds for it: then its newest part. Nothing that does not have to is read or held.
    Tail(usize),
}

/// One piece of a workload's output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogChunk {
    /// When it was written, if the engine knows.
    pub at: Option<Timestamp>,
    /// True for standard error.
    pub stderr: bool,
    /// The bytes as they came; not necessarily UTF-8 or whole lines.
    pub bytes: Bytes,
}

/// A stream of log chunks; ends at the end of the log, or never if it is followed and the workload lives.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogChunk, DriverError>> + Send>>;
/// A stream of hints; ends if the engine goes away, and is then opened again.
pub type HintStream = Pin<Box<dyn Stream<Item = Hint> + Send>>;
/// Told how a pull goes on: bytes so far, bytes in all if known.
pub type Progress<'a> = &'a (dyn Fn(u64, Option<u64>) + Send + Sync);

/// What runs workloads on one host. One value serves one host of the config; several may share one engine and then
/// see only workloads that carry their own host label.
///
/// Every call has a deadline of the driver's own and ends with [`DriverError::Timeout`] (*effect unknown*) when it is
/// over. Every call may be repeated.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// Kind, version and abilities.
    async fn info(&self) -> Result<DriverInfo, DriverError>;

    /// Health, totals, cached images. An error means that the host is not well.
    async fn probe(&self) -> Result<HostProbe, DriverError>;

    /// Brings the image to the host. Idempotent. `refresh` asks the registry even if the reference is there already
    /// (moving tags). Cut after 60 s without progress ([`DriverError::PullTimeout`]).
    async fn prepare(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        refresh: bool,
        progress: Progress<'_>,
    ) -> Result<(), DriverError>;

    /// Makes and starts the workload, or finds it. The same id and spec hash twice give one workload, which is started
    /// if it was only made. Another hash under the same id is [`DriverError::Conflict`]. An exited workload is left as
    /// it is. Its files are put into it after it was made and before it is started, also if an earlier call did not come
    /// that far; one that may not be put there is [`DriverError::Invalid`]. A workload with an access list is never
    /// started before the list is in force. Does not pull: a missing image is [`DriverError::ImageMissing`]. If starting fails for good, nothing
    /// is left behind that [`Driver::remove`] would not remove.
    async fn ensure(&self, spec: &WorkloadSpec) -> Result<(), DriverError>;

    /// SIGTERM to the workload's first process. Returns at once; the workload is still there afterwards, running or
    /// exited. Drivers with host deadlines also end it after `grace`. Unknown or ended: `Ok`.
    async fn stop(&self, id: WorkloadId, grace: Duration) -> Result<(), DriverError>;

    /// Ends the workload (SIGKILL to all of it) and frees everything it had. Absent: `Ok`.
    async fn remove(&self, id: WorkloadId) -> Result<(), DriverError>;

    /// Every workload of this installation and host, also those only made and those that have exited.
    async fn list(&self) -> Result<Vec<Observed>, DriverError>;

    /// One workload; `None` if there is none.
    async fn inspect(&self, id: WorkloadId) -> Result<Option<Observed>, DriverError>;

    /// Whether the workload listens on every one of these container ports. Cheap enough to ask every few milliseconds.
    async fn listening(&self, id: WorkloadId, ports: &[PortPublish]) -> Result<bool, DriverError>;

    /// Puts these access lists in force, over those that the workloads have had; also on connections that exist. Lists of
    /// workloads that the engine has no longer are taken away on the way; those of others that are not named stay.
    async fn set_access(&self, lists: &[AccessList]) -> Result<(), DriverError>;

    /// The access lists that are in force, by workload; also those of workloads that are gone. Several hosts on one
    /// engine may each tell of all.
    async fn access(&self) -> Result<Vec<AccessList>, DriverError>;

    /// Where this machine reaches every port that the workload listens on, published or not. `None`: it does not run, or
    /// this machine does not reach it.
    async fn address(&self, _id: WorkloadId) -> Result<Option<IpAddr>, DriverError> {
        Ok(None)
    }

    /// Hints about changes. Begins with [`Hint::Resync`].
    async fn watch(&self) -> Result<HintStream, DriverError>;

    /// The output from there on, and what follows if `follow`. Also of a workload that has ended, until it is removed:
    /// then it is [`DriverError::Missing`].
    async fn logs(&self, id: WorkloadId, from: LogFrom, follow: bool) -> Result<LogStream, DriverError>;

    /// What it has used so far. [`DriverError::Missing`] if the engine has no such workload.
    async fn stats(&self, id: WorkloadId) -> Result<Stats, DriverError>;

    /// What every running workload has used so far; asked every few seconds. A workload whose figures cannot be had
    /// now, or would cost too much to ask for that often, is left out: a gap, never an error.
    async fn stats_all(&self) -> Result<Vec<(WorkloadId, Stats)>, DriverError> {
        let listed = self.list().await?.into_iter();
        let running =
            listed.filter(|observed| observed.state == Running::Running).map(|observed| observed.id);
        Ok(figures::one_by_one(self, running.collect()).await)
    }
}
