//! Rows that are to be looked at soon, one after the other: what a bulk stop, a full list of a host or a claim finds can be
//! thousands. If all of them were woken in one moment, whoever makes a request would wait for all of them.
//!
//! Nothing is lost with this queue: rows that something is to be done about are found again by the next full list, or by
//! the next process.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::DeploymentId;
use tokio::sync::Notify;

use crate::Engine;

/// Between two rows, unless more than [`SPREAD`] would be spent on them.
const PAUSE: Duration = Duration::from_millis(10);
/// The longer the queue, the shorter the pause: it may be this, divided by its length.
const SPREAD: Duration = Duration::from_secs(30);

/// The queue. A row stands in it once, so it holds at most as many as live.
#[derive(Default)]
pub(crate) struct Turns {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    order: VecDeque<DeploymentId>,
    known: HashSet<DeploymentId>,
}

impl Turns {
    fn add(&self, id: DeploymentId) {
        let mut waiting = self.waiting.lock();
        if waiting.known.insert(id) {
            waiting.order.push_back(id);
            self.bell.notify_one();
        }
    }

    /// The next row, and how long to pause after it.
    fn next(&self) -> Option<(DeploymentId, Duration)> {
        let mut waiting = self.waiting.lock();
        let length = u32::try_from(waiting.order.len()).unwrap_or(u32::MAX);
        let id = waiting.order.pop_front()?;
        waiting.known.remove(&id);
        Some((id, PAUSE.min(SPREAD / length)))
    }
}

impl Engine {
    /// Has the row looked at when its turn comes.
    pub(crate) fn wake_in_turn(&self, id: DeploymentId) {
        self.inner.turns.add(id);
    }
}

/// Wakes the rows of the queue. Begun once, in [`crate::tasks`].
pub(crate) async fn run(engine: Engine) {
    loop {
        match engine.inner.turns.next() {
            Some((id, pause)) => {
                engine.wake(id);
                tokio::time::sleep(pause).await;
            }
            None => engine.inner.turns.bell.notified().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_one_turn_in_order_and_a_long_queue_moves_faster() {
        let turns = Turns::default();
        for number in [1, 2, 1, 3, 2] {
            turns.add(DeploymentId::from_random(number));
        }
        let mut order = Vec::new();
        while let Some((id, pause)) = turns.next() {
            assert_eq!(pause, PAUSE);
            order.push(id);
        }
        assert_eq!(order, [1, 2, 3].map(DeploymentId::from_random));
        for number in 0..30_000 {
            turns.add(DeploymentId::from_random(number));
        }
        assert_eq!(turns.next().map(|(_, pause)| pause), Some(Duration::from_millis(1)));
        turns.add(DeploymentId::from_random(0));
        assert_eq!(turns.waiting.lock().order.len(), 30_000, "it may come again once it had its turn");
    }
}
