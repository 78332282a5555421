//! Which webhooks a deployment or a session asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{DeploymentId, NotAnId, SessionId};
use crate::secret::Sealed;

/// What a webhook announces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookEvent {
    /// Players can connect.
    Ready,
    /// It failed.
    Error,
    /// It has ended.
    Terminated,
    /// The order of some deployments by players is known; no event of a deployment.
    Telemetry,
    /// A session has a deployment that is ready.
    Linked,
    /// No deployment takes a session.
    Unprocessable,
}

/// Whose webhook it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// A deployment's.
    Deployment(DeploymentId),
    /// A session's.
    Session(SessionId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment(id) => fmt::Display::fmt(id, f),
            Self::Session(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl FromStr for Subject {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.parse().map(Self::Session).or_else(|_| text.parse().map(Self::Deployment))
    }
}

impl From<DeploymentId> for Subject {
    fn from(id: DeploymentId) -> Self {
        Self::Deployment(id)
    }
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Ready, Self::Error, Self::Terminated, Self::Linked, Self::Unprocessable, Self::Telemetry];

    /// `ready`, `error`, `terminated`, `linked`, `unprocessable` or `telemetry`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Error => "error",
            Self::Terminated => "terminated",
            Self::Telemetry => "telemetry",
            Self::Linked => "linked",
            Self::Unprocessable => "unprocessable",
        }
    }
}

/// Addresses to call; sealed, since they may carry credentials.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Webhooks {
    /// Called once when it becomes ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_ready: Option<Sealed>,
    /// Called once when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Sealed>,
    /// Called once when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_terminated: Option<Sealed>,
}

impl Webhooks {
    /// The address for `event`.
    #[must_use]
    pub fn get(&self, event: WebhookEvent) -> Option<&Sealed> {
        match event {
            WebhookEvent::Ready => self.on_ready.as_ref(),
            WebhookEvent::Error => self.on_error.as_ref(),
            WebhookEvent::Terminated => self.on_terminated.as_ref(),
            WebhookEvent::Telemetry | WebhookEvent::Linked | WebhookEvent::Unprocessable => None,
        }
    }
}
