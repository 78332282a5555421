//! Smart fleets: deployments that are there before anybody asks.
//!
//! What it is for: the nouns ([`Fleet`], [`Policy`], [`Link`]), and two pure rules: what a policy does next about one of
//! its versions ([`decide`]), and how often a version may be started ([`Budget`]).
//!
//! What it must not know: how deployments are made. Each step is one deployment; the caller looks again after it.
//!
//! # The rules
//! - Nothing happens unless fleet and policy are enabled. Each linked version has deployments of its own per policy.
//! - `minimum` deployments are kept running. One more is started when the newest is filled to `threshold`. `maximum` counts
//!   everything that has not ended, so that it holds at every moment.
//! - Less become only those that have run empty (`empty_ttl`), and never less than `minimum`.
//! - A version that always fails costs at most [`BURST`] deployments at first and one more every [`EVERY`]. A deployment that
//!   worked (`State::proven`) gives its share back.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::filter::LocationFilter;
use crate::geo::GeoPoint;
use crate::ids::PolicyId;
use crate::names::{AppName, FleetName, PolicyName, VersionName};
use crate::time::Timestamp;

/// A smart fleet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fleet {
    /// Its name, unique in the installation.
    pub name: FleetName,
    /// Whether anything happens.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// By what a policy says where its deployments go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PolicyKind {
    /// By filters on locations.
    Location,
    /// By filters on the tags of locations.
    Tag,
    /// Near to points.
    Coordinates,
}

impl PolicyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Location, Self::Tag, Self::Coordinates];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Location => "Location",
            Self::Tag => "Tag",
            Self::Coordinates => "Coordinates",
        }
    }
}

/// What a policy wants.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolicySpec {
    /// Whether anything happens.
    pub enabled: bool,
    /// By what it says where.
    pub kind: PolicyKind,
    /// Deployments that are always there.
    pub minimum: u32,
    /// Never more than this; `None`: no bound.
    pub maximum: Option<u32>,
    /// Share of the sockets of the newest deployment from which on another is started, 0.1 to 1.
    pub threshold: f64,
    /// Sites that its deployments may go to.
    pub filters: Vec<LocationFilter>,
    /// Points that they are to be near to.
    pub points: Vec<GeoPoint>,
    /// Both as the user wrote them, JSON; only shown.
    pub data: String,
}

/// A policy of a fleet.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// Stays the same when it is renamed.
    pub id: PolicyId,
    /// Its fleet.
    pub fleet: FleetName,
    /// Its name, unique in the fleet.
    pub name: PolicyName,
    /// What it wants.
    pub spec: PolicySpec,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A version that a fleet deploys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// The fleet.
    pub fleet: FleetName,
    /// The application.
    pub app: AppName,
    /// The version.
    pub version: VersionName,
    /// When it was linked.
    pub created_at: Timestamp,
}

/// Where a deployment of a policy stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// On its way to READY.
    Starting,
    /// Players can connect.
    Ready,
    /// It is being stopped.
    Leaving,
    /// It failed then.
    Failed(Timestamp),
}

/// A deployment of a policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Where it stands.
    pub standing: Standing,
    /// Sockets that it has.
    pub sockets: u32,
    /// Sockets that are taken.
    pub used: u32,
}

impl Member {
    const fn is_well(&self) -> bool {
        matches!(self.standing, Standing::Starting | Standing::Ready)
    }

    const fn has_ended(&self) -> bool {
        matches!(self.standing, Standing::Failed(_))
    }
}

/// What to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing until something changes.
    Rest,
    /// Start one, then look again.
    Create,
    /// Look again then.
    Wait(Timestamp),
}

/// Failures that are younger than this slow the next start down.
const FAILURES_REMEMBERED: Duration = Duration::from_secs(300);
/// So many of them do not.
const FAILURES_FREE: u32 = 2;
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a policy does next about one of its versions, given all of its deployments there.
#[must_use]
pub fn decide(policy: &PolicySpec, members: &[Member], now: Timestamp) -> Step {
    let well = count(members.iter().filter(|member| member.is_well()));
    let present = count(members.iter().filter(|member| !member.has_ended()));
    if policy.maximum.is_some_and(|maximum| present >= maximum) {
        return Step::Rest;
    }
    let is_filled = |member: &Member| {
        member.standing == Standing::Ready
            && member.sockets > 0
            && f64::from(member.used) >= policy.threshold * f64::from(member.sockets)
    };
    // Of two that were made at one moment the emptier one counts.
    let newest = members
        .iter()
        .filter(|member| member.is_well())
        .max_by_key(|member| (member.created_at, !is_filled(member)));
    if well >= policy.minimum && !newest.is_some_and(is_filled) {
        return Step::Rest;
    }
    match pause_ends(members, now) {
        Some(end) if end > now => Step::Wait(end),
        _ => Step::Create,
    }
}

/// Whether one that has run empty may end: without it there are enough left.
#[must_use]
pub fn may_end(policy: &PolicySpec, members: &[Member]) -> bool {
    count(members.iter().filter(|member| member.is_well())) > policy.minimum
}

/// The more have failed lately, the longer is waited after the last one.
fn pause_ends(members: &[Member], now: Timestamp) -> Option<Timestamp> {
    let failed = members.iter().filter_map(|member| match member.standing {
        Standing::Failed(at) if now.since(at) < FAILURES_REMEMBERED => Some(at),
        _ => None,
    });
    let (number, last) = failed.fold((0_u32, None), |(n, last), at| (n + 1, last.max(Some(at))));
    let doublings = number.checked_sub(FAILURES_FREE + 1)?.min(16);
    Some(last?.plus(Duration::from_secs(1 << doublings).min(PAUSE_MAX)))
}

fn count<T>(members: impl Iterator<Item = T>) -> u32 {
    u32::try_from(members.count()).unwrap_or(u32::MAX)
}

/// Deployments of one revision that fleets may start without seeing one of them work.
pub const BURST: u32 = 10;
/// Then one in this time.
pub const EVERY: Duration = Duration::from_secs(600);

/// How often the fleets may start a revision: a bucket of [`BURST`] starts that fills by one every [`EVERY`], kept as the
/// moment at which it will be full again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// When all starts are there again.
    pub full_at: Timestamp,
}

impl Budget {
    /// From when on another start is possible.
    #[must_use]
    pub fn open_at(self) -> Timestamp {
        let spent_at_most = i64::try_from((EVERY * (BURST - 1)).as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.full_at.micros().saturating_sub(spent_at_most))
    }

    /// After a start at `now`; `None` if none is left.
    #[must_use]
    pub fn spend(self, now: Timestamp) -> Option<Self> {
        (now >= self.open_at()).then(|| Self { full_at: self.full_at.max(now).plus(EVERY) })
    }

    /// After one that was started has proven itself.
    #[must_use]
    pub fn give_back(self) -> Self {
        let every = i64::try_from(EVERY.as_micros()).unwrap_or(i64::MAX);
        Self { full_at: Timestamp(self.full_at.micros().saturating_sub(every)) }
    }
}

#[cfg(test)]
mod tests;
