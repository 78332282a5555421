//! Points that are not stored yet: the open minute of every deployment, and what a database that is away did not take.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::{DeploymentId, Timestamp};
use spawnpoint_store::MetricChunk;

use super::RAW;
use super::fold::floor;
use super::points::{Point, pack};

/// Points of all deployments together. Beyond that new ones are lost: a gap. About 40 MB.
const POINTS_MAX: usize = 300_000;
/// A row of the store holds the points of so much time.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// The points of a deployment in one minute.
struct Open {
    /// When the first was due: with the deployment the key in the store. Control planes that look at the same host look
    /// at the same moments, so that what they store takes each other's place.
    slot: Timestamp,
    points: Vec<Point>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<DeploymentId, Vec<Open>>,
    count: usize,
    is_full: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Buffer(Mutex<Inner>);

impl Buffer {
    /// Keeps what was sampled at `slot`.
    pub(super) fn push(&self, slot: Timestamp, sampled: impl IntoIterator<Item = (DeploymentId, Point)>) {
        let mut inner = self.0.lock();
        for (id, point) in sampled {
            if inner.count >= POINTS_MAX {
                if !std::mem::replace(&mut inner.is_full, true) {
                    tracing::warn!(points = POINTS_MAX, "the database takes no figures; new ones are lost");
                }
                return;
            }
            inner.count += 1;
            let open = inner.open.entry(id).or_default();
            match open.iter_mut().find(|open| floor(open.slot, SPAN) == floor(slot, SPAN)) {
                Some(open) => open.points.push(point),
                None => open.push(Open { slot, points: vec![point] }),
            }
        }
    }

    /// Rows for the store of every minute that was over before `now`; of all of them if `now` is `None`. They stay here
    /// until they are [`Self::stored`].
    pub(super) fn finished(&self, now: Option<Timestamp>) -> Vec<MetricChunk> {
        let inner = self.0.lock();
        let is_over = |open: &&Open| now.is_none_or(|now| floor(open.slot, SPAN).plus(SPAN) <= now);
        let row = |(id, open): (&DeploymentId, &Open)| MetricChunk {
            deployment: *id,
            tier: RAW,
            start_at: open.slot,
            points: pack(&open.points),
        };
        let all = inner.open.iter().flat_map(|(id, open)| open.iter().filter(is_over).map(move |o| (id, o)));
        all.map(row).collect()
    }

    /// Forgets what is stored.
    pub(super) fn stored(&self, rows: &[MetricChunk]) {
        let mut inner = self.0.lock();
        for row in rows {
            let Some(open) = inner.open.get_mut(&row.deployment) else { continue };
            let before: usize = open.iter().map(|open| open.points.len()).sum();
            open.retain(|open| open.slot != row.start_at);
            let after: usize = open.iter().map(|open| open.points.len()).sum();
            if open.is_empty() {
                inner.open.remove(&row.deployment);
            }
            inner.count -= before - after;
            inner.is_full = false;
        }
    }

    /// The points of a deployment, each minute under its key in the store.
    pub(super) fn of(&self, id: DeploymentId) -> Vec<(Timestamp, Vec<Point>)> {
        let inner = self.0.lock();
        let open = inner.open.get(&id).into_iter().flatten();
        open.map(|open| (open.slot, open.points.clone())).collect()
    }
}
