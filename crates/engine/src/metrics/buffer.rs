//! Points that are not stored yet: the open minute of every deployment, and what a database that is away did not take.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::{DeploymentId, Timestamp};
use spawnpoint_store::MetricChunk;

use super::RAW;
use super::fold::floor;
use super::points::{Packed, Point};

/// Bytes of points of all deployments together. Beyond that new ones are lost: a gap. Ten minutes of ten thousand.
const BYTES_MAX: usize = 32 << 20;
/// A row of the store holds the points of so much time.
pub(super) const SPAN: Duration = Duration::from_secs(60);

/// The points of a deployment in one minute.
struct Open {
    /// When the first was due: with the deployment the key in the store. Control planes that look at the same host look
    /// at the same moments, so that what they store takes each other's place.
    slot: Timestamp,
    points: Packed,
}

#[derive(Default)]
struct Inner {
    open: HashMap<DeploymentId, Vec<Open>>,
    bytes: usize,
    is_full: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Buffer(Mutex<Inner>);

impl Buffer {
    /// Keeps what was sampled at `slot`.
    pub(super) fn push(&self, slot: Timestamp, sampled: impl IntoIterator<Item = (DeploymentId, Point)>) {
        let inner = &mut *self.0.lock();
        let minute = floor(slot, SPAN);
        for (id, point) in sampled {
            if inner.bytes >= BYTES_MAX {
                if !std::mem::replace(&mut inner.is_full, true) {
                    tracing::warn!(bytes = BYTES_MAX, "the database takes no figures; new ones are lost");
                }
                return;
            }
            let open = inner.open.entry(id).or_default();
            let number = open.iter().position(|open| floor(open.slot, SPAN) == minute).unwrap_or_else(|| {
                let points = Packed::new();
                inner.bytes += points.bytes().len();
                open.push(Open { slot, points });
                open.len() - 1
            });
            let points = &mut open[number].points;
            let before = points.bytes().len();
            points.push(&point);
            inner.bytes += points.bytes().len() - before;
        }
    }

    /// Rows for the store of minutes that were over before `now` (of any if it is `None`), at most `limit`. They stay
    /// here until they are [`Self::stored`].
    pub(super) fn finished(&self, now: Option<Timestamp>, limit: usize) -> Vec<MetricChunk> {
        let inner = self.0.lock();
        let is_over = |open: &&Open| now.is_none_or(|now| floor(open.slot, SPAN).plus(SPAN) <= now);
        let all =
            inner.open.iter().flat_map(|(id, open)| open.iter().filter(is_over).map(|open| row(*id, open)));
        all.take(limit).collect()
    }

    /// Forgets what is stored.
    pub(super) fn stored(&self, rows: &[MetricChunk]) {
        let mut inner = self.0.lock();
        for row in rows {
            let Some(open) = inner.open.get_mut(&row.deployment) else { continue };
            open.retain(|open| open.slot != row.start_at);
            if open.is_empty() {
                inner.open.remove(&row.deployment);
            }
            inner.bytes = inner.bytes.saturating_sub(row.points.len());
            inner.is_full = false;
        }
    }

    /// The points of a deployment, each minute as it would be stored.
    pub(super) fn of(&self, id: DeploymentId) -> Vec<MetricChunk> {
        let inner = self.0.lock();
        inner.open.get(&id).into_iter().flatten().map(|open| row(id, open)).collect()
    }
}

fn row(deployment: DeploymentId, open: &Open) -> MetricChunk {
    MetricChunk { deployment, tier: RAW, start_at: open.slot, points: open.points.bytes().to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::points::unpack;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_790_000_040_000_000 + seconds * 1_000_000)
    }

    fn push(buffer: &Buffer, id: u64, seconds: i64) {
        buffer.push(at(seconds), [(DeploymentId::from_random(id), Point::empty(at(seconds), 1))]);
    }

    fn starts(rows: &[MetricChunk]) -> Vec<Timestamp> {
        let mut starts: Vec<_> = rows.iter().map(|row| row.start_at).collect();
        starts.sort_unstable();
        starts
    }

    #[test]
    fn a_minute_is_one_row_under_its_first_slot_and_is_stored_when_it_is_over() {
        let buffer = Buffer::default();
        for seconds in [20, 30, 50, 60, 70] {
            push(&buffer, 1, seconds);
        }
        push(&buffer, 2, 60);
        assert_eq!(buffer.finished(Some(at(59)), 9), []);
        let over = buffer.finished(Some(at(60)), 9);
        assert_eq!((over.len(), over[0].start_at), (1, at(20)));
        assert_eq!(unpack(&over[0].points, RAW).unwrap().len(), 3);
        assert_eq!(starts(&buffer.finished(None, 9)), [at(20), at(60), at(60)]);
        assert_eq!(buffer.finished(None, 2).len(), 2);
        assert_eq!(buffer.of(DeploymentId::from_random(1)).len(), 2, "it can be read all the while");
        buffer.stored(&over);
        assert_eq!(starts(&buffer.of(DeploymentId::from_random(1))), [at(60)]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_there_is_room_again_once_it_is_stored() {
        let buffer = Buffer::default();
        buffer.0.lock().bytes = BYTES_MAX - 1;
        push(&buffer, 1, 0);
        push(&buffer, 2, 0);
        assert_eq!(buffer.finished(None, 9).len(), 1);
        buffer.stored(&buffer.finished(None, 9));
        assert_eq!(buffer.0.lock().bytes, BYTES_MAX - 1);
        push(&buffer, 2, 0);
        assert_eq!(buffer.finished(None, 9).len(), 1);
    }
}
