//! Who asks, and what they may do.

use serde::{Deserialize, Serialize};

use crate::ids::TokenId;
use crate::names::AppName;
use crate::time::Timestamp;

/// What a token may do. Each scope includes the ones before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at everything it may see.
    Read,
    /// Deploy and stop as well.
    Deploy,
    /// Change applications, versions and settings as well.
    Admin,
}

/// An API token as it is stored: never the secret, only its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The public part.
    pub id: TokenId,
    /// A name for people.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// If not empty: only these applications and their deployments.
    pub apps: Vec<AppName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since then it is refused.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is accepted at `now`.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Who makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The token that was shown.
    pub token: TokenId,
    /// What it may do.
    pub scope: Scope,
    /// If not empty: only these applications.
    pub apps: Vec<AppName>,
}

impl Actor {
    /// Whether it may do what needs `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scope >= scope
    }

    /// Whether `app` and its deployments are its business.
    #[must_use]
    pub fn may_see(&self, app: &AppName) -> bool {
        self.apps.is_empty() || self.apps.contains(app)
    }
}
