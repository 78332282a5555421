//! The nouns and rules of Spawnpoint.
//!
//! What it is for: everything that can be said about a deployment without touching the world. Ids and validated
//! names, the application version and what a deployment asks for, the lifecycle ([`lifecycle::decide`]), the choice
//! of a host ([`place::place`]), of a session's deployment ([`session::rank`]), of what a smart fleet does next
//! ([`fleet::decide`]).
//!
//! What it must not know: IO, async, SQL, HTTP, a clock, randomness, or Edgegap's spellings (those live in `api`).
//!
//! Entry points: [`lifecycle::decide`] is the whole lifecycle; [`place::place`] is the whole placement.

pub mod access;
pub mod added;
pub mod app;
pub mod deployment;
pub mod env;
pub mod filter;
pub mod fleet;
pub mod geo;
pub mod host_settings;
pub mod ids;
pub mod invalid;
pub mod lifecycle;
pub mod limits;
pub mod names;
pub mod place;
pub mod port;
pub mod query;
pub mod secret;
pub mod session;
pub mod site;
pub mod storage;
pub mod time;
pub mod token;
pub mod units;
pub mod webhook;

pub use access::{AccessEntry, AccessEntryId, Cidr};
pub use app::{Application, RestartPolicy, VersionSpec};
pub use deployment::{Deployment, DeploymentSpec, Desired, Phase, Status};
pub use ids::{
    DeploymentId, HostId, InstallationId, PolicyId, RevisionId, SessionId, SiteId, TokenId, WorkloadId,
};
pub use invalid::{Invalid, Invalids};
pub use names::{AppName, CustomId, FleetName, PolicyName, ProfileName, StorageName, TagName, VersionName};
pub use port::{PortBinding, PortSpec, Protocol, Transport};
pub use secret::{Plaintext, Sealed};
pub use storage::{EndpointStorage, LogFormat, PullLink, PullProfile, SourceType};
pub use time::Timestamp;
pub use units::{CpuUnits, MemoryMib};
