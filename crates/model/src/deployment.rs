//! A deployment: what was asked for ([`DeploymentSpec`], never changes) and where it stands ([`Deployment`]).
//! How it moves is in [`crate::lifecycle`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::{RestartPolicy, SessionConfig, SessionKind};
use crate::env::EnvVar;
use crate::filter::LocationFilter;
use crate::geo::GeoPoint;
use crate::ids::{DeploymentId, HostId, PolicyId, RevisionId, WorkloadId};
use crate::names::{AppName, FleetName, TagName, VersionName};
use crate::port::PortBinding;
use crate::storage::PullProfile;
use crate::time::Timestamp;
use crate::units::Resources;
use crate::webhook::Webhooks;

/// What the user wants of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Desired {
    /// Run.
    #[default]
    Run,
    /// End, for this reason.
    Stop(StopCause),
}

/// Why a deployment ended without having failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A stop over the API.
    User,
    /// The container stopped itself.
    SelfStop,
    /// `max_duration` was over.
    Expired,
    /// Its process ended, and its restart policy let it.
    Exited,
    /// Its host was emptied.
    Drained,
    /// It had failed, and its record was kept long enough.
    Retired,
    /// No session was on it for as long as its version allows.
    Empty,
}

/// Why a deployment failed. The kind decides what happens next; the detail is for people.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// A sentence, shown as `error_detail`.
    pub detail: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No host could take it.
    NoCapacity,
    /// The image could not be had.
    ImageUnavailable,
    /// Pulling the image made no progress or took too long.
    PullTimeout,
    /// The host could not start it.
    StartFailed,
    /// Somebody else holds one of its host ports.
    PortTaken,
    /// It did not become ready in time.
    NotReadyInTime,
    /// Its process ended before it was ready.
    ExitedBeforeReady,
    /// Its process ended too often.
    CrashLoop,
    /// It wrote more to its file system than it may.
    DiskFull,
    /// Its container is gone, and nobody of us removed it.
    Vanished,
    /// Its host has not answered for too long.
    HostLost,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Exit {
    /// Its exit code; 128 + n if signal n ended it.
    pub code: i32,
    /// The kernel ended it because its memory limit was reached.
    pub oom: bool,
    /// Its host ended it because it had written more to its file system than it may.
    #[serde(default)]
    pub disk: bool,
}

/// What follows once the workload is gone from its host.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// The end.
    Terminate(StopCause),
    /// Failed.
    Fail(Failure),
    /// A new attempt on another host or other ports.
    Replace(Failure),
    /// A new attempt in the same place.
    Restart,
}

/// Where it stands. Drawn in [`crate::lifecycle`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Has no host.
    Pending,
    /// Holds a host, ports and capacity; no driver was asked for anything.
    Placed,
    /// A driver may have been asked to run the attempt.
    Starting,
    /// Players can connect.
    Ready,
    /// The attempt is being removed from its host.
    Stopping(After),
    /// It failed; nothing of it is on a host.
    Failed(Failure),
    /// It has ended; absorbing.
    Terminated(StopCause),
}

impl Phase {
    /// A short word for columns and metrics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Placed => "placed",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping(_) => "stopping",
            Self::Failed(_) => "failed",
            Self::Terminated(_) => "terminated",
        }
    }

    /// Whether it holds a host, ports and capacity.
    #[must_use]
    pub const fn holds_host(&self) -> bool {
        matches!(self, Self::Placed | Self::Starting | Self::Ready | Self::Stopping(_))
    }

    /// Whether a workload of it may exist on its host.
    #[must_use]
    pub const fn may_have_workload(&self) -> bool {
        matches!(self, Self::Starting | Self::Ready | Self::Stopping(_))
    }
}

/// The phase as users see it: one word each, in the order in which they pass.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The request is stored.
    Initializing,
    /// A host is being chosen.
    Seeking,
    /// A host is chosen.
    Seeked,
    /// The image is being looked at.
    Scanning,
    /// Pull, create, start, port checks.
    Deploying,
    /// Players can connect.
    Ready,
    /// SIGTERM was sent.
    Terminating,
    /// It is gone.
    Terminated,
    /// It failed.
    Error,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Initializing,
        Self::Seeking,
        Self::Seeked,
        Self::Scanning,
        Self::Deploying,
        Self::Ready,
        Self::Terminating,
        Self::Terminated,
        Self::Error,
    ];

    /// The word in capitals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Seeking => "SEEKING",
            Self::Seeked => "SEEKED",
            Self::Scanning => "SCANNING",
            Self::Deploying => "DEPLOYING",
            Self::Ready => "READY",
            Self::Terminating => "TERMINATING",
            Self::Terminated => "TERMINATED",
            Self::Error => "ERROR",
        }
    }
}

/// Whether logs are kept at the end, as the deploy request says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogStorage {
    /// Keep them.
    pub enabled: bool,
    /// In this storage; `None` = the version's.
    pub endpoint_storage: Option<String>,
}

/// What a stop says of the logs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogChoice {
    /// As configured.
    Configured,
    /// Skip them this once.
    Skip,
    /// Into this storage.
    Storage(String),
}

/// What was asked for. Never changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// The application.
    pub app: AppName,
    /// The version.
    pub version: VersionName,
    /// The revision of the version that it runs.
    pub revision: RevisionId,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How many players were named.
    pub user_count: u32,
    /// Where the players are, as far as known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub players: Vec<GeoPoint>,
    /// Nearest to this point, whatever the players say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub centroid: Option<GeoPoint>,
    /// Sites it may go to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<LocationFilter>,
    /// Hosts to try first, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferred_hosts: Vec<HostId>,
    /// Only hosts that hold the image.
    #[serde(default)]
    pub require_cached: bool,
    /// Variables that override the version's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Overrides the version's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Overrides the version's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// Whom to tell.
    #[serde(default)]
    pub webhooks: Webhooks,
    /// What becomes of its logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_storage: Option<LogStorage>,
    /// What is copied into its containers before they start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pull_profiles: Vec<PullProfile>,
    /// What it may use.
    pub resources: Resources,
    /// What happens when the process ends.
    pub restart_policy: RestartPolicy,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_seconds: u32,
    /// Seconds that one attempt may take until READY.
    pub time_to_deploy_seconds: u32,
    /// Minutes after READY at which it is stopped; 0 or less = never.
    pub max_duration_minutes: i32,
    /// The version's session settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionConfig>,
    /// The smart fleet that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl DeploymentSpec {
    /// How sessions are counted on it.
    #[must_use]
    pub fn session_kind(&self) -> SessionKind {
        self.session.map_or(SessionKind::Default, |session| session.kind)
    }

    /// How many sockets it has; `None` if sessions take none.
    #[must_use]
    pub fn sockets(&self) -> Option<u32> {
        self.session.filter(|session| session.kind != SessionKind::Default).map(|session| session.sockets)
    }
}

/// Which policy of which smart fleet made a deployment.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The fleet, as it was called then.
    pub fleet: FleetName,
    /// The policy.
    pub policy: PolicyId,
}

/// A tag on a deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tag {
    /// Its name.
    pub name: TagName,
    /// When it was put on.
    pub created_at: Timestamp,
    /// When it was last renamed.
    pub updated_at: Timestamp,
}

/// A deployment's row.
#[derive(Clone, PartialEq, Debug)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Counts the changes of the row; every save compares it.
    pub generation: i64,
    /// What was asked for.
    pub spec: Arc<DeploymentSpec>,
    /// Where it stands.
    pub state: State,
}

/// The part of a row that changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct State {
    /// What the user wants.
    pub desired: Desired,
    /// Where it stands.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// The status before the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<Status>,
    /// Number of the present attempt; 0 before the first placement.
    pub attempt: u32,
    /// The host that is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostId>,
    /// The ports that are held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortBinding>,
    /// When players could first connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// When it ended or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When something must have happened in this phase: READY while starting, SIGKILL while stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Nothing is done before: the pause ahead of a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Restarts so far.
    #[serde(default)]
    pub restarts: u32,
    /// Restarts since it last ran for a while: what the crash-loop budget counts.
    #[serde(default)]
    pub recent_restarts: u32,
    /// When the present attempt became ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_since: Option<Timestamp>,
    /// Replacements so far.
    #[serde(default)]
    pub replacements: u32,
    /// How the last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Since when its host has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<Timestamp>,
    /// Hosts on which it has failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid_hosts: Vec<HostId>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Sessions may join.
    #[serde(default)]
    pub joinable: bool,
    /// What the stop said of the logs, if it said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_choice: Option<LogChoice>,
    /// Since when no session has been on it; `None`: there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_since: Option<Timestamp>,
    /// Made by a smart fleet, and it was not its image's fault if it ended: it has run for a while, or something else ended
    /// it. See [`crate::fleet`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proven: bool,
}

impl Deployment {
    /// A new row that has no host yet.
    #[must_use]
    pub fn new(id: DeploymentId, spec: DeploymentSpec, tags: Vec<Tag>) -> Self {
        let state = State {
            desired: Desired::Run,
            phase: Phase::Pending,
            phase_since: spec.created_at,
            last_status: None,
            attempt: 0,
            host: None,
            ports: Vec::new(),
            ready_at: None,
            ended_at: None,
            deadline: None,
            not_before: None,
            restarts: 0,
            recent_restarts: 0,
            up_since: None,
            replacements: 0,
            exit: None,
            unreachable_since: None,
            avoid_hosts: Vec::new(),
            tags,
            joinable: spec.session.is_some(),
            empty_since: spec.sockets().map(|_| spec.created_at),
            proven: false,
            log_choice: None,
        };
        Self { id, generation: 0, spec: Arc::new(spec), state }
    }

    /// The workload of the present attempt.
    #[must_use]
    pub const fn workload(&self) -> WorkloadId {
        WorkloadId { deployment: self.id, attempt: self.state.attempt }
    }

    /// What users see.
    #[must_use]
    pub const fn status(&self) -> Status {
        let was_ready = self.state.ready_at.is_some();
        match &self.state.phase {
            Phase::Pending => {
                if self.state.attempt == 0 {
                    Status::Initializing
                } else {
                    Status::Seeking
                }
            }
            Phase::Placed => Status::Seeked,
            Phase::Starting | Phase::Stopping(After::Restart) if was_ready => Status::Ready,
            Phase::Starting | Phase::Stopping(After::Restart | After::Replace(_)) => Status::Deploying,
            Phase::Ready => Status::Ready,
            Phase::Stopping(After::Terminate(_)) => Status::Terminating,
            Phase::Stopping(After::Fail(_)) | Phase::Failed(_) => Status::Error,
            Phase::Terminated(_) => Status::Terminated,
        }
    }

    /// Why it failed, if it did.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match &self.state.phase {
            Phase::Stopping(After::Fail(failure)) | Phase::Failed(failure) => Some(failure),
            Phase::Pending
            | Phase::Placed
            | Phase::Starting
            | Phase::Ready
            | Phase::Stopping(After::Terminate(_) | After::Replace(_) | After::Restart)
            | Phase::Terminated(_) => None,
        }
    }
}
