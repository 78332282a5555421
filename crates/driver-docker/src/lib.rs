//! Runs workloads on a Docker Engine (20.10 and later), over its API.
//!
//! What it is for: the [`Driver`](spawnpoint_driver::Driver) contract on containers of an engine that is on this
//! machine (Unix socket) or on another one (TCP with TLS).
//!
//! What it must not know: the store, Edgegap, another driver.
//!
//! Entry points: [`DockerEngine::connect`] once per engine and installation, then [`DockerDriver::new`] once per host
//! of the config; several hosts may share one engine.
//!
//! How it keeps the contract: the container's name is derived from the workload's id, so the engine itself refuses a
//! second one; everything else that must be known later stands in labels ([`names`]). [`profile`] is the whole
//! container profile, a pure function. [`guard`] holds the firewall rules that keep containers from the host, from
//! each other and from metadata services; [`access`] those that keep all but listed networks from a workload.

pub mod access;
mod driver;
mod endpoint;
mod engine;
mod error;
mod figures;
mod files;
pub mod guard;
pub mod image_archive;
mod kernel;
pub mod names;
mod network;
mod observe;
pub mod profile;
mod pull;
mod sockets;
mod streams;

pub use driver::DockerDriver;
pub use endpoint::{Endpoint, TlsFiles};
pub use engine::{DockerEngine, EngineConfig, GuardState};
