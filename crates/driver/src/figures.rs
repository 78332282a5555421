//! Figures of many workloads where each has to be asked for by itself.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use spawnpoint_model::WorkloadId;
use tokio::time::Instant;

use crate::{Driver, Stats};

/// Workloads that are asked for at once. Some engines take a second for an answer, most of it waiting.
pub const AT_ONCE: usize = 16;
/// For all of them together: what has not been answered by then is left out.
const PATIENCE: Duration = Duration::from_secs(45);

/// Asks [`Driver::stats`] for each of `ids`, a few at a time. Whoever does not answer, or not in time, is left out.
pub async fn one_by_one<D: Driver + ?Sized>(driver: &D, ids: Vec<WorkloadId>) -> Vec<(WorkloadId, Stats)> {
    let end = Instant::now() + PATIENCE;
    let ask = |id| async move { (id, driver.stats(id).await, Instant::now()) };
    let mut answers = stream::iter(ids).map(ask).buffer_unordered(AT_ONCE);
    let mut read = Vec::new();
    while let Ok(Some((id, answer, at))) = tokio::time::timeout_at(end, answers.next()).await {
        if let Ok(stats) = answer {
            read.push((id, stats, at));
        }
    }
    let now = Instant::now();
    let aged = |stats: Stats, at| Stats { age: stats.age + now.saturating_duration_since(at), ..stats };
    read.into_iter().map(|(id, stats, at)| (id, aged(stats, at))).collect()
}
