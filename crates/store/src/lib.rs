//! All SQL of Spawnpoint, and nothing else.
//!
//! What it is for: keeping the rows of the installation, in SQLite (default) or in PostgreSQL (by URL), and sealing
//! the secrets in them ([`vault::Vault`]).
//!
//! What it must not know: HTTP, drivers, the lifecycle's rules, a clock (times come in as [`Timestamp`] arguments).
//! It never logs a value.
//!
//! Entry points: [`Store`] reads and commits; [`Tx`] is a write transaction **as data**, built by methods that stand
//! in one file per table.
//!
//! ```text
//!   engine ── builds ──▶ Tx (a list of statements, each with what it means if it hits nothing)
//!                         │
//!                    Store::commit        atomic and durable when it returns
//!                    ┌────┴─────┐
//!                 sqlite      postgres    two executors of one and the same SQL text
//!          one writer thread  pool, retry
//!           + group commit    of deadlocks
//! ```
//!
//! A transaction as data needs no callback, no lifetime and no async closure. It can be queued (group commit: one
//! `fsync` for up to [`sqlite::GROUP_MAX`] transactions), replayed (one bad transaction does not hurt its
//! neighbours) and retried (PostgreSQL's deadlocks), and **both databases run the very same statements** and the same
//! test suite. That is why this crate uses `rusqlite` and `tokio-postgres` directly instead of `sqlx`: the executors
//! have about 300 lines each, and SQLite's statements run on the writer's own thread, without a hop per statement.
//! What differs between the two databases is in [`dialect`] and in the two migration folders.

pub mod access;
pub mod acme;
pub mod added_hosts;
pub mod apps;
pub mod deployments;
pub mod dialect;
pub mod error;
pub mod events;
pub mod fleets;
pub mod host_settings;
pub mod hosts;
pub mod idempotency;
pub mod list;
pub mod log_uploads;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub mod outbox;
pub mod ports;
pub mod postgres;
pub mod pull_profiles;
pub mod sessions;
pub mod settings;
pub mod sql;
pub mod sqlite;
pub mod storages;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod tx;
pub mod vault;
pub mod versions;

#[doc(inline)]
pub use acme::{AcmeCertificate, AcmeChain, AcmeOrder};
pub use error::{Conflict, StoreError};
pub use events::DeploymentEvent;
pub use fleets::{FleetMember, FleetUnit};
pub use hosts::HostUsage;
pub use idempotency::RememberedRequest;
pub use log_uploads::{LogKind, LogUpload, UploadState};
pub use logs::{KeptLog, LogSize};
pub use metrics::MetricChunk;
pub use outbox::{Delivery, DeliveryState};
pub use ports::PortLease;
pub use sessions::{SessionClaim, SessionRow, SessionUsage, SocketFigures};
pub use spawnpoint_model::Timestamp;
pub use store::{Database, Store};
pub use telemetry::TelemetryRecord;
pub use tokens::TokenRecord;
pub use tx::Tx;
pub use vault::Vault;
