//! Which webhooks a deployment asks for.

use serde::{Deserialize, Serialize};

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
}

impl WebhookEvent {
    /// `ready`, `error`, `terminated` or `telemetry`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Error => "error",
            Self::Terminated => "terminated",
            Self::Telemetry => "telemetry",
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
            WebhookEvent::Telemetry => None,
        }
    }
}
