//! When which deployment has to be looked at again though nobody asks: deadlines, `max_duration`, retention.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use spawnpoint_model::{DeploymentId, Timestamp};
use tokio::sync::Notify;

/// One moment a deployment.
#[derive(Default)]
pub(crate) struct Timers {
    inner: Mutex<Due>,
    /// Rung when an earlier moment was set.
    pub(crate) bell: Notify,
}

#[derive(Default)]
struct Due {
    by_time: BTreeSet<(Timestamp, DeploymentId)>,
    by_id: HashMap<DeploymentId, Timestamp>,
}

impl Timers {
    /// Sets, moves or (with `None`) clears a deployment's moment.
    pub(crate) fn set(&self, id: DeploymentId, at: Option<Timestamp>) {
        let mut due = self.inner.lock();
        let before = match at {
            Some(at) => due.by_id.insert(id, at),
            None => due.by_id.remove(&id),
        };
        if let Some(before) = before {
            due.by_time.remove(&(before, id));
        }
        if let Some(at) = at {
            due.by_time.insert((at, id));
            if due.by_time.first() == Some(&(at, id)) {
                self.bell.notify_one();
            }
        }
    }

    /// Takes everything that is due.
    pub(crate) fn take_due(&self, now: Timestamp) -> Vec<DeploymentId> {
        let mut due = self.inner.lock();
        let mut taken = Vec::new();
        while let Some((at, id)) = due.by_time.first().copied().filter(|(at, _)| *at <= now) {
            due.by_time.remove(&(at, id));
            due.by_id.remove(&id);
            taken.push(id);
        }
        taken
    }

    /// The next moment.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.inner.lock().by_time.first().map(|(at, _)| *at)
    }
}
