//! Carries the lifecycle out: looks at a row's workload, asks [`decide`], saves what it says, does the one action, and
//! comes back until there is nothing left to do. Crash recovery is this same code.
//!
//! At most one task works on a row of this process; whoever [wakes](Engine::wake) the row meanwhile makes it look again.
//! Other control planes on the same PostgreSQL may work on it too: compare-and-swap on the generation keeps it right.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use spawnpoint_model::deployment::{Desired, Phase};
use spawnpoint_model::lifecycle::{Action, Observation, decide, due_at, ends_at};
use spawnpoint_model::{Deployment, DeploymentId};
use spawnpoint_store::{Conflict, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Engine;
use crate::save::Change;

/// Pause after the store or a host has failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// The rows that are being worked on.
#[derive(Default)]
pub(crate) struct Reconciler {
    active: Mutex<HashMap<DeploymentId, Arc<Slot>>>,
}

/// One row that is being worked on.
#[derive(Default)]
pub(crate) struct Slot {
    again: AtomicBool,
    pub(crate) bell: Notify,
}

/// When to look next. Checked ports are looked at often at first and less the longer a start takes, so that READY comes
/// at most a tenth later than the game is; the engine itself is asked now and then only, since it gives hints.
struct Looks {
    began: Instant,
    asked_in_full: Instant,
}

impl Looks {
    const PORTS: RangeInclusive<Duration> = Duration::from_millis(2)..=Duration::from_millis(250);
    const IN_FULL_EVERY: Duration = Duration::from_secs(1);

    fn new() -> Self {
        Self { began: Instant::now(), asked_in_full: Instant::now() }
    }

    fn pause(&self, phase: &Phase, unreachable: bool) -> Duration {
        match phase {
            _ if unreachable => Self::IN_FULL_EVERY,
            Phase::Starting => (self.began.elapsed() / 10).clamp(*Self::PORTS.start(), *Self::PORTS.end()),
            _ => Self::IN_FULL_EVERY / 2,
        }
    }

    /// Whether the engine itself is to be asked now.
    fn in_full(&mut self, phase: &Phase, hinted: bool) -> bool {
        let due = hinted || *phase != Phase::Starting || self.asked_in_full.elapsed() >= Self::IN_FULL_EVERY;
        if due {
            self.asked_in_full = Instant::now();
        }
        due
    }
}

impl Engine {
    /// Has the row looked at now, or once more if it is being looked at.
    pub(crate) fn wake(&self, id: DeploymentId) {
        let slot = {
            let mut active = self.inner.reconciler.active.lock();
            if let Some(slot) = active.get(&id) {
                slot.again.store(true, Ordering::SeqCst);
                slot.bell.notify_one();
                return;
            }
            let slot = Arc::new(Slot::default());
            active.insert(id, slot.clone());
            slot
        };
        let engine = self.clone();
        self.inner.tracker.spawn(async move { engine.work_on(id, &slot).await });
    }

    /// Whether nobody works on any row now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.inner.reconciler.active.lock().is_empty()
    }

    async fn work_on(&self, id: DeploymentId, slot: &Slot) {
        loop {
            slot.again.store(false, Ordering::SeqCst);
            tokio::select! {
                result = self.settle(id, slot) => if let Err(error) = result {
                    tracing::warn!(deployment.id = %id, error = %error, "a deployment could not be worked on; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(TROUBLE_PAUSE) => slot.again.store(true, Ordering::SeqCst),
                        () = self.inner.stop.cancelled() => {}
                    }
                },
                () = self.inner.stop.cancelled() => {}
            }
            let mut active = self.inner.reconciler.active.lock();
            if self.inner.stop.is_cancelled() || !slot.again.load(Ordering::SeqCst) {
                active.remove(&id);
                return;
            }
        }
    }

    /// Steps until the row rests.
    async fn settle(&self, id: DeploymentId, slot: &Slot) -> Result<(), StoreError> {
        let mut seen = None;
        let mut looks = Looks::new();
        let mut asked_to_end = None;
        while let Some(row) = self.inner.rows.find(id).await? {
            let now = self.now();
            let Some(also) = self.may_run_empty(&row, now).await? else { continue };
            let looked = match seen.take() {
                Some(observation) => observation,
                None if wants_a_look(&row, now) => self.observe(&row, true).await,
                None => Observation::Nothing,
            };
            let decision = decide(&row, &looked, now, &self.inner.options.rules);
            let mut captured = None;
            let row = match decision.next {
                None => row,
                Some(next) => {
                    let (webhooks, release) = (decision.webhooks, decision.release);
                    let change = Change { webhooks, release, event: None, also };
                    // The log of what has ended may be read meanwhile.
                    let reads = decision.action == Action::Remove && matches!(looked, Observation::Exited(_));
                    let ended = reads.then(|| next.clone());
                    let read = async { Some(self.capture(ended.as_ref()?).await) };
                    let (saved, read) = tokio::join!(self.save(&row, next, change), Box::pin(read));
                    captured = read;
                    match saved {
                        Ok(saved) => saved,
                        Err(
                            StoreError::Conflict(Conflict::Stale(_) | Conflict::Outdated { .. })
                            | StoreError::OutcomeUnknown,
                        ) => {
                            continue;
                        }
                        Err(other) => return Err(other),
                    }
                }
            };
            let unreachable = looked == Observation::Unreachable;
            seen = Some(match decision.action {
                Action::Rest => {
                    self.inner.timers.set(id, due_at(&row, &self.inner.options.rules));
                    return Ok(());
                }
                Action::Again => Observation::Nothing,
                Action::Place => {
                    self.place_again(&row).await?;
                    Observation::Nothing
                }
                Action::Observe => self.observe(&row, true).await,
                Action::Poll => {
                    let wait = looks.pause(&row.state.phase, unreachable);
                    self.poll(&row, slot, &mut looks, wait).await
                }
                Action::Start => self.start_workload(&row).await,
                Action::Stop(grace) if asked_to_end != Some(row.state.attempt) => {
                    asked_to_end = Some(row.state.attempt);
                    self.stop_workload(&row, grace).await
                }
                Action::Stop(grace) => {
                    let wait = looks.pause(&row.state.phase, unreachable).min(grace);
                    self.poll(&row, slot, &mut looks, wait).await
                }
                Action::Remove => self.remove_workload(&row, captured).await,
            });
        }
        Ok(())
    }

    /// Waits for a hint, at most `wait`, then looks.
    async fn poll(&self, row: &Deployment, slot: &Slot, looks: &mut Looks, wait: Duration) -> Observation {
        let hinted = tokio::time::timeout(wait, slot.bell.notified()).await.is_ok();
        let current = self.inner.rows.find_live(row.id);
        let changed = current.is_some_and(|now| now.generation != row.generation);
        if changed {
            return Observation::Nothing;
        }
        self.observe(row, looks.in_full(&row.state.phase, hinted)).await
    }
}

/// A ready row is looked at when it is woken, unless it is to be stopped anyway.
fn wants_a_look(row: &Deployment, now: spawnpoint_model::Timestamp) -> bool {
    row.state.phase == Phase::Ready
        && row.state.desired == Desired::Run
        && ends_at(row).is_none_or(|end| now < end)
}
