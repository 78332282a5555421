//! What can go wrong with a store. That a row does not exist is no error: reads answer `None`.

use std::path::PathBuf;

use spawnpoint_model::port::Transport;
use spawnpoint_model::{DeploymentId, HostId, RevisionId};

/// Why a transaction was refused: a rule of the data, not a fault of the database. Nothing of it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The row was changed or removed since it was read.
    #[error("deployment {0} was changed meanwhile")]
    Stale(DeploymentId),
    /// Another row was changed or removed since it was read.
    #[error("{what} {key} was changed meanwhile")]
    Outdated {
        /// The noun, for example `session`.
        what: &'static str,
        /// Its key.
        key: String,
    },
    /// Fleets have started this revision too often without seeing it work.
    #[error("revision {0} was started too often")]
    BudgetSpent(RevisionId),
    /// The host has not this much left.
    #[error("host {0} has no room left")]
    NoCapacity(HostId),
    /// The port is leased, in quarantine or banned.
    #[error("port {port}/{transport} of host {host} is taken", transport = transport.as_str())]
    PortTaken {
        /// The host.
        host: HostId,
        /// TCP or UDP.
        transport: Transport,
        /// The number.
        port: u16,
    },
    /// The idempotency key was used before.
    #[error("the idempotency key was used before")]
    KeyUsed(String),
    /// A row with this key exists.
    #[error("{what} {key} exists already")]
    Exists {
        /// The noun, for example `application`.
        what: &'static str,
        /// Its key.
        key: String,
    },
    /// The row that was to be changed, or one that it refers to, does not exist.
    #[error("{what} {key} does not exist")]
    Missing {
        /// The noun, for example `application`.
        what: &'static str,
        /// Its key.
        key: String,
    },
}

/// An error of the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Refused by a rule; nothing was written.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The database cannot be used now: busy, disk full, IO error, no connection. Nothing was written; may be
    /// tried again.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The connection broke during the commit: it may or may not have happened. Read again to know.
    #[error("the connection to the database was lost during a commit; its outcome is unknown")]
    OutcomeUnknown,
    /// The database was written by a newer version of Spawnpoint.
    #[error(
        "the database has schema version {found}, and this version of Spawnpoint knows {known} only: \
         please start the newer version, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// The database's version.
        found: i64,
        /// The newest this binary knows.
        known: i64,
    },
    /// The database was written by an older version and was opened read-only.
    #[error("the database has schema version {found}, older than {known}: run `spawnpoint migrate` first")]
    OlderSchema {
        /// The database's version.
        found: i64,
        /// The newest this binary knows.
        known: i64,
    },
    /// Another process has the SQLite file open for writing.
    #[error("{} is in use by another Spawnpoint process; stop it first, or use another data directory", .0.display())]
    Locked(PathBuf),
    /// The master key is not the one with which this database's secrets were sealed.
    #[error(
        "the master key is not the one this database's secrets were sealed with; restore the right key file"
    )]
    WrongMasterKey,
    /// The database or a row in it cannot be understood.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// A mistake of ours or of the configuration.
    #[error("store: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The conflict, if it is one.
    #[must_use]
    pub const fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Conflict(conflict) => Some(conflict),
            _ => None,
        }
    }
}
