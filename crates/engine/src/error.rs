//! What a verb can fail with. Public text and internal cause are kept apart: users see the former only.

use spawnpoint_model::{Invalid, Invalids};

/// An error of a verb.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values are bad; all of them are listed.
    #[error("{0}")]
    Invalid(Invalids),
    /// No token, or one that is not accepted.
    #[error("a valid token is needed")]
    Unauthorized,
    /// The token may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing; the text names it.
    #[error("{0}")]
    NotFound(String),
    /// It is there already, or stands in the way.
    #[error("{0}")]
    Conflict(String),
    /// What is asked for makes no sense, or is too much; the text says why.
    #[error("{0}")]
    Unprocessable(String),
    /// It has ended.
    #[error("{0}")]
    Gone(String),
    /// Something that was needed said no: a registry, say.
    #[error("{0}")]
    FailedDependency(String),
    /// Not now; trying again later helps. The text is for users.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours. The text is for the log only.
    #[error("internal error")]
    Internal(String),
}

impl From<Invalids> for Error {
    fn from(invalids: Invalids) -> Self {
        Self::Invalid(invalids)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid.into())
    }
}
