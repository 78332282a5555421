//! What can go wrong. Every text is a sentence fit for users: it names no login, token or signed URL.

use std::io;
use std::path::Path;

use crate::{Digest, Platform, ReferenceError};

/// Why there is no image.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// What was asked for is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry does not know the image.
    #[error("the registry does not know the image")]
    NotFound,
    /// The registry wants another login, or none helps.
    #[error("the registry denies access (status {status})")]
    Denied {
        /// 401 or 403.
        status: u16,
    },
    /// The registry has had enough of us for now.
    #[error("the registry limits how often it may be asked")]
    RateLimited,
    /// The registry cannot be reached, or does not work.
    #[error("the registry cannot be used: {0}")]
    Unreachable(String),
    /// The address policy forbids where this leads.
    #[error("the registry leads to an address that may not be called: {0}")]
    Forbidden(String),
    /// Nothing arrived for too long.
    #[error("the pull made no progress for {seconds} s")]
    Stalled {
        /// The limit.
        seconds: u64,
    },
    /// Nothing for this machine.
    #[error("the image has nothing for {wanted} (it has {found})")]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        found: String,
    },
    /// Content that is not what its digest, size or type says, or that no honest builder makes.
    #[error("the image is refused: {0}")]
    Refused(String),
    /// This machine's part of it failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PullError {
    /// Whether asking again for the same cannot help before somebody changes something.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::Reference(_)
            | Self::NotFound
            | Self::Denied { .. }
            | Self::Forbidden(_)
            | Self::Platform { .. }
            | Self::Refused(_) => true,
            Self::RateLimited | Self::Unreachable(_) | Self::Stalled { .. } | Self::Store(_) => false,
        }
    }

    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }
}

/// What the store itself cannot do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk said no.
    #[error("cannot {what}: {detail}")]
    Io {
        /// What was tried.
        what: String,
        /// What kind it is of.
        kind: io::ErrorKind,
        /// What the system said.
        detail: String,
    },
    /// The image is not (or no longer) here.
    #[error("the image {0} is not here")]
    Absent(Digest),
    /// The image is held.
    #[error("the image is in use by {}", .0.join(", "))]
    InUse(Vec<String>),
    /// A holder's name that could not be a file's.
    #[error("a holder's name must be 1 to 128 letters, digits, '.', '_' and '-', and not begin with '.'")]
    Holder,
    /// What was given is no archive that can be taken.
    #[error("the archive is refused: {0}")]
    Archive(String),
    /// The store was made by something newer.
    #[error("the image store has version {0}, which this program does not know")]
    Version(String),
}

impl StoreError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { kind: io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, .. })
    }

    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Io { what: format!("{what} {}", path.display()), kind: error.kind(), detail: error.to_string() }
    }
}
