//! What can go wrong with a driver, and what it means for the caller.

use spawnpoint_model::Transport;

/// An error of a driver. The text of each is fit to be shown to users; it holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The spec asks for what cannot be. Trying again does not help.
    #[error("{0}")]
    Invalid(String),
    /// The host does not hold the image: call `prepare`.
    #[error("the image is not on the host")]
    ImageMissing,
    /// The image cannot be had. `permanent`: the registry said no (unknown, not allowed).
    #[error("{detail}")]
    ImageUnavailable {
        /// A sentence for users.
        detail: String,
        /// Trying again does not help.
        permanent: bool,
    },
    /// The pull made no progress.
    #[error("Pull image timeout exceeded")]
    PullTimeout,
    /// The host has no room.
    #[error("the host has no room: {0}")]
    NoCapacity(String),
    /// Somebody else holds a host port of the spec.
    #[error("host port {port}/{} is taken", transport.as_str())]
    PortBusy {
        /// The host port.
        port: u16,
        /// Its protocol.
        transport: Transport,
    },
    /// The id is there with another spec.
    #[error("a workload with this id and another spec exists")]
    Conflict,
    /// There is no workload with this id, for what needs one: not made yet, or removed by now.
    #[error("there is no such workload")]
    Missing,
    /// The engine started it and it failed at once, or refused to start it.
    #[error("{0}")]
    StartFailed(String),
    /// The engine does not answer or refuses the connection.
    #[error("the engine is not reachable: {0}")]
    Unavailable(String),
    /// No answer in time. **The effect is unknown.**
    #[error("no answer from the engine in time")]
    Timeout,
    /// The driver cannot do this.
    #[error("not supported by this driver")]
    Unsupported,
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

impl DriverError {
    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Timeout | Self::Missing | Self::Internal(_) | Self::PullTimeout => {
                true
            }
            Self::ImageUnavailable { permanent, .. } => !*permanent,
            Self::Invalid(_)
            | Self::ImageMissing
            | Self::NoCapacity(_)
            | Self::PortBusy { .. }
            | Self::Conflict
            | Self::StartFailed(_)
            | Self::Unsupported => false,
        }
    }
}
