//! Sessions: players, or matches of players, that sit on a deployment of a version with sockets.
//!
//! What it is for: the noun ([`Session`]), what it takes of its deployment ([`sockets_for`]), and which deployments may take
//! it, the best first ([`rank`]).
//!
//! What it must not know: how sockets are claimed. That is one conditional write of the store.
//!
//! ```text
//!            made on a deployment           the deployment ends
//!          ┌──────────────────────▶ Linked ────────────────────▶ Closed, or Failed if it failed
//!   asked ─┤                          │ deleted
//!          └──▶ Unprocessable ────────┴───────────────────────▶ Deleted
//!            nobody takes it
//! ```

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::app::SessionKind;
use crate::filter::LocationFilter;
use crate::geo::GeoPoint;
use crate::ids::{DeploymentId, SessionId};
use crate::names::{AppName, CustomId, TagName, VersionName};
use crate::place::score;
use crate::secret::Sealed;
use crate::site::Location;
use crate::time::Timestamp;

/// A player in a session. Two players may share an address.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionUser {
    /// The player's address.
    pub ip: IpAddr,
    /// Where the player is, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<GeoPoint>,
}

/// What a session asks of its deployment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Selector {
    /// A tag that the deployment must carry.
    pub tag: TagName,
    /// The tag only says something about the session.
    #[serde(default)]
    pub tag_only: bool,
    /// A variable for a deployment that is made for the session: key and value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<(String, String)>,
}

/// Whom a session tells what becomes of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionWebhook {
    /// The address, sealed.
    pub url: Sealed,
    /// The address without what may be secret in it.
    pub shown: String,
}

/// Where a session stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPhase {
    /// It sits on a deployment, and holds its sockets there.
    Linked,
    /// No deployment takes it; why, a sentence.
    Unprocessable(String),
    /// Its deployment has failed; why, a sentence.
    Failed(String),
    /// Its deployment has ended.
    Closed,
    /// A user has deleted it.
    Deleted,
}

impl SessionPhase {
    /// A short word for columns.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Linked => "linked",
            Self::Unprocessable(_) => "unprocessable",
            Self::Failed(_) => "failed",
            Self::Closed => "closed",
            Self::Deleted => "deleted",
        }
    }
}

/// What does not change about a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionSpec {
    /// The application.
    pub app: AppName,
    /// The version.
    pub version: VersionName,
    /// The number of the version in its application.
    pub version_number: i64,
    /// How it is counted.
    pub kind: SessionKind,
    /// The name that a user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<CustomId>,
    /// What it asks of its deployment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selectors: Vec<Selector>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Minutes that its record is kept after its end.
    pub kept_minutes: u32,
}

/// A session's row.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Counts the changes of the row; every save compares it.
    pub generation: i64,
    /// What does not change.
    pub spec: Arc<SessionSpec>,
    /// The deployment on which it sits or sat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// Where it stands.
    pub phase: SessionPhase,
    /// Who is in it.
    pub users: Vec<SessionUser>,
    /// Whom it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<SessionWebhook>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl Session {
    /// Sockets that it takes.
    #[must_use]
    pub fn sockets(&self) -> u32 {
        sockets_for(self.spec.kind, self.users.len())
    }

    /// Whether it sits on a deployment.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        self.phase == SessionPhase::Linked
    }

    /// The row after a change.
    #[must_use]
    pub fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        change(&mut next);
        next
    }

    /// The row at its end.
    #[must_use]
    pub fn ended(&self, phase: SessionPhase, now: Timestamp) -> Self {
        self.changed(|next| {
            next.phase = phase;
            next.ended_at = Some(now);
        })
    }

    /// When its record may be forgotten; `None` while it is linked.
    #[must_use]
    pub fn forget_at(&self) -> Option<Timestamp> {
        let kept = std::time::Duration::from_secs(u64::from(self.spec.kept_minutes) * 60);
        let unlinked = matches!(self.phase, SessionPhase::Unprocessable(_)).then_some(self.spec.created_at);
        self.ended_at.or(unlinked).map(|from| from.plus(kept))
    }

    /// The tags that its deployment must carry.
    pub fn required_tags(&self) -> impl Iterator<Item = &TagName> {
        self.spec.selectors.iter().filter(|selector| !selector.tag_only).map(|selector| &selector.tag)
    }
}

/// Sockets that so many players take: each one, all of them one, or none.
#[must_use]
pub fn sockets_for(kind: SessionKind, users: usize) -> u32 {
    match kind {
        SessionKind::Default => 0,
        SessionKind::Seat => u32::try_from(users).unwrap_or(u32::MAX),
        SessionKind::Match => 1,
    }
}

/// A deployment that may take a session: of the right version, running, joinable.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The deployment.
    pub id: DeploymentId,
    /// Players can connect.
    pub ready: bool,
    /// Free sockets; `None`: sessions take none.
    pub free: Option<u32>,
    /// Sessions on it.
    pub sessions: u32,
    /// Its tags.
    pub tags: &'a [TagName],
    /// Where it is.
    pub location: &'a Location,
    /// The tags of that place.
    pub site_tags: &'a [String],
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// What a session needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// So many sockets.
    pub sockets: u32,
    /// All of these tags.
    pub tags: &'a [TagName],
    /// Only places that pass.
    pub filters: &'a [LocationFilter],
    /// Near to these points.
    pub points: &'a [GeoPoint],
    /// Deployments that are not ready yet will do.
    pub may_wait: bool,
}

/// The candidates that can take it, the best first: a ready one, the nearest, the fullest (so that the others can run
/// empty and end), the oldest, the smaller id.
#[must_use]
pub fn rank(candidates: &[Candidate<'_>], wanted: &Wanted<'_>) -> Vec<DeploymentId> {
    let mut fitting: Vec<_> = candidates.iter().filter(|candidate| takes(candidate, wanted)).collect();
    fitting.sort_by_cached_key(|c| {
        let at = GeoPoint { latitude: c.location.latitude, longitude: c.location.longitude };
        let distance = score(at, wanted.points).map_or(0, |score| (score.ms() * 1000.0).round() as u64);
        (!c.ready, distance, c.free.unwrap_or(0), c.created_at, c.id)
    });
    fitting.into_iter().map(|candidate| candidate.id).collect()
}

/// Whether a candidate can take it.
#[must_use]
pub fn takes(candidate: &Candidate<'_>, wanted: &Wanted<'_>) -> bool {
    (candidate.ready || wanted.may_wait)
        && candidate.free.is_none_or(|free| free >= wanted.sockets)
        && candidate.sessions < crate::limits::SESSIONS_PER_DEPLOYMENT_MAX
        && wanted.tags.iter().all(|tag| candidate.tags.contains(tag))
        && wanted.filters.iter().all(|filter| filter.matches(candidate.location, candidate.site_tags))
}

#[cfg(test)]
mod tests;
