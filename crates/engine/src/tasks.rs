//! The background tasks, all of them:
//!
//! | task | when | what |
//! |---|---|---|
//! | adopt | once, at start | each host is listed before anything is done on it; then every due row is woken |
//! | watch | always, per host | hints from the engine wake rows |
//! | resync | every 15 s, and when hints were lost, per host | probe, full list, differences; then strays are swept |
//! | operators | every second, and when an operator said something of a host | takes added hosts in and removed ones out, cordons hosts, empties those that are drained |
//! | timers | when due | deadlines, `max_duration`, retention of errors |
//! | turns | when there are any | rows that were found by the thousand are woken one after the other |
//! | webhooks | when due | the outbox is sent |
//! | sample | every 10 s, per host | what its workloads use is read once for all of them |
//! | metrics | every second | the minutes that are over are stored; what is old is thinned |
//! | uploads | when due | spooled logs are sent to their storages |
//! | fleets | when due | what smart fleets want is started |
//! | access | when an access list has changed | hosts are given the lists of their deployments |
//! | images | when a version or a host has changed, every 5 min | images of versions with `force_cache` are pulled |
//! | gc | a second after the start, then every 30 s | ended rows and sessions, ports after quarantine, old keys and telemetry requests, unused revisions, logs beyond their bound are deleted |
//!
//! Each ends when the engine is told to stop; a panic in one is logged and the task begins again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use spawnpoint_driver::Hint;
use spawnpoint_store::{StoreError, Tx};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::Engine;
use crate::hosts::HostRuntime;

/// A host must answer within this at start, else it is adopted when it comes back.
const ADOPT_PATIENCE: Duration = Duration::from_secs(10);
/// Rows are looked for in a shared database this often: another control plane may have died with them.
const CLAIM_EVERY: Duration = Duration::from_secs(1);
const CLAIM_MAX: u32 = 500;
/// Ended rows that are deleted in one transaction.
const PURGE_MAX: u32 = 500;
/// Such transactions in one round.
const PURGES_MAX: u32 = 20;

/// Adopts, then starts everything.
pub(crate) async fn start(engine: &Engine) {
    let hosts = engine.inner.fleet.all().to_vec();
    let adoptions = hosts.iter().map(|runtime| async {
        match tokio::time::timeout(ADOPT_PATIENCE, engine.resync_host(runtime)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(host.id = %runtime.id(), error = %error, "host could not be adopted yet"),
            Err(_) => tracing::warn!(host.id = %runtime.id(), "host did not answer in time; it is adopted when it does"),
        }
    });
    futures_util::future::join_all(adoptions).await;
    wake_all(engine).await;
    for runtime in &hosts {
        attend(engine, runtime, &Arc::new(Notify::new()));
    }
    engine.inner.at_work.store(true, Ordering::SeqCst);
    for (name, task) in [
        ("operators", Task::Operators),
        ("timers", Task::Timers),
        ("turns", Task::Turns),
        ("webhooks", Task::Webhooks),
        ("uploads", Task::Uploads),
        ("metrics", Task::Metrics),
        ("fleets", Task::Fleets),
        ("access", Task::Access),
        ("images", Task::Images),
        ("gc", Task::Gc),
    ] {
        let inner = engine.clone();
        forever(engine, name, move || task.run(inner.clone()));
    }
    if !engine.inner.rows.is_exact() {
        let inner = engine.clone();
        forever(engine, "claim", move || claim(inner.clone()));
    }
}

/// Begins the tasks of a host that was added while the server runs; it is compared with its rows at once.
pub(crate) fn begin_host(engine: &Engine, runtime: &Arc<HostRuntime>) {
    if engine.inner.at_work.load(Ordering::SeqCst) {
        let relist = Arc::new(Notify::new());
        relist.notify_one();
        attend(engine, runtime, &relist);
    }
}

/// The tasks of one host. They end when it is removed.
fn attend(engine: &Engine, runtime: &Arc<HostRuntime>, relist: &Arc<Notify>) {
    let gone = &runtime.gone;
    forever_until(engine, gone, "watch", {
        let (engine, runtime, relist) = (engine.clone(), runtime.clone(), relist.clone());
        move || watch(engine.clone(), runtime.clone(), relist.clone())
    });
    forever_until(engine, gone, "resync", {
        let (engine, runtime, relist) = (engine.clone(), runtime.clone(), relist.clone());
        move || resync(engine.clone(), runtime.clone(), relist.clone())
    });
    if !engine.inner.options.metrics.sample_every.is_zero() {
        let (inner, runtime) = (engine.clone(), runtime.clone());
        forever_until(engine, gone, "sample", move || crate::metrics::sample(inner.clone(), runtime.clone()));
    }
}

/// Wakes every row that has something to do now and sets the timers of the others.
async fn wake_all(engine: &Engine) {
    let rows = match engine.inner.rows.live().await {
        Ok(rows) => rows,
        Err(error) => return tracing::error!(error = %error, "the live deployments could not be read"),
    };
    let now = engine.now();
    for row in rows {
        match spawnpoint_model::lifecycle::due_at(&row, &engine.inner.options.rules) {
            Some(due) if due <= now => engine.wake(row.id),
            due => engine.inner.timers.set(row.id, due),
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    Operators,
    Timers,
    Turns,
    Webhooks,
    Uploads,
    Metrics,
    Fleets,
    Access,
    Images,
    Gc,
}

impl Task {
    async fn run(self, engine: Engine) {
        match self {
            Self::Operators => crate::host_settings::run(engine).await,
            Self::Timers => timers(engine).await,
            Self::Turns => crate::turns::run(engine).await,
            Self::Webhooks => crate::webhooks::run(engine).await,
            Self::Uploads => crate::log_upload::run(engine).await,
            Self::Metrics => crate::metrics::keep(engine).await,
            Self::Fleets => crate::fleets::run(engine).await,
            Self::Access => crate::access_lists::run(engine).await,
            Self::Images => crate::image_cache::run(engine).await,
            Self::Gc => {
                // Also by a control plane that never lives as long as the pause between two rounds.
                tokio::time::sleep(engine.inner.options.gc_first).await;
                gc(&engine).await;
                every(engine.inner.options.gc_every, || gc(&engine)).await;
            }
        }
    }
}

/// Runs a task until the engine stops; begins it again should it end or panic.
fn forever<F>(engine: &Engine, name: &'static str, task: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    forever_until(engine, &CancellationToken::new(), name, task);
}

/// The same, or until what it is for is gone.
fn forever_until<F>(
    engine: &Engine,
    gone: &CancellationToken,
    name: &'static str,
    task: impl Fn() -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let (stop, gone) = (engine.inner.stop.clone(), gone.clone());
    engine.inner.tracker.spawn(async move {
        while !stop.is_cancelled() && !gone.is_cancelled() {
            let run = tokio::spawn(task());
            let abort = run.abort_handle();
            tokio::select! {
                ended = run => if let Err(error) = ended {
                    tracing::error!(task = name, error = %error, "a background task has failed; it begins again");
                },
                () = stop.cancelled() => abort.abort(),
                () = gone.cancelled() => abort.abort(),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => {}
                () = gone.cancelled() => {}
            }
        }
    });
}

async fn every<F: Future<Output = ()>>(period: Duration, run: impl Fn() -> F) {
    loop {
        tokio::time::sleep(period).await;
        run().await;
    }
}

async fn watch(engine: Engine, runtime: Arc<HostRuntime>, relist: Arc<Notify>) {
    let mut hints = match runtime.driver().watch().await {
        Ok(hints) => hints,
        Err(error) => {
            return tracing::debug!(host.id = %runtime.id(), error = %error, "no hints from this host now");
        }
    };
    while let Some(hint) = hints.next().await {
        match hint {
            Hint::Changed(id) => engine.wake(id.deployment),
            Hint::Resync => relist.notify_one(),
        }
    }
    relist.notify_one();
}

async fn resync(engine: Engine, runtime: Arc<HostRuntime>, relist: Arc<Notify>) {
    loop {
        let _ = tokio::time::timeout(engine.inner.options.resync_every, relist.notified()).await;
        if let Err(error) = engine.resync_host(&runtime).await {
            tracing::warn!(host.id = %runtime.id(), error = %error, "a host could not be compared with its rows");
        }
        engine.sweep(&runtime).await;
    }
}

async fn timers(engine: Engine) {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    loop {
        for id in engine.inner.timers.take_due(engine.now()) {
            engine.wake(id);
        }
        let wait =
            engine.inner.timers.next().map_or(HEARTBEAT, |next| next.since(engine.now()).min(HEARTBEAT));
        let _ = tokio::time::timeout(wait.max(Duration::from_millis(1)), engine.inner.timers.bell.notified())
            .await;
    }
}

/// Takes over rows whose time has come in a shared database.
async fn claim(engine: Engine) {
    let owner = format!("{:016x}", engine.inner.entropy.u64());
    loop {
        tokio::time::sleep(CLAIM_EVERY).await;
        let now = engine.now();
        match engine.inner.store.claim_due(&owner, now, now.plus(Duration::from_secs(15)), CLAIM_MAX).await {
            Ok(rows) => rows.into_iter().for_each(|row| engine.wake_in_turn(row.id)),
            Err(error) => tracing::warn!(error = %error, "due deployments could not be read"),
        }
        if let Err(error) = engine.look_for_access_changes().await {
            tracing::warn!(error = %error, "changes of access lists could not be read");
        }
        if let Err(error) = engine.reload_hosts().await {
            tracing::warn!(error = %error, "the hosts' usage could not be read");
        }
    }
}

/// Deletes what nobody needs any more.
async fn gc(engine: &Engine) {
    let inner = &engine.inner;
    let now = engine.now();
    let ago = |time: Duration| {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        spawnpoint_model::Timestamp(now.micros().saturating_sub(micros))
    };
    let mut tx = Tx::new();
    tx.free_expired_ports(now);
    tx.purge_requests(now);
    tx.purge_sessions(now);
    tx.purge_budgets(now);
    tx.purge_deliveries(ago(inner.options.delivery_retention));
    tx.purge_uploads();
    tx.purge_telemetry(now);
    tx.purge_revisions();
    tx.purge_access_entries();
    match inner.store.commit(tx).await {
        Ok(()) => inner.fleet.expire_ports(now),
        Err(error) => tracing::warn!(error = %error, "what is no longer needed could not be deleted"),
    }
    let purged = purge_ended(engine, ago(inner.options.terminated_retention)).await;
    if let Err(error) = purged.and(engine.trim_kept_logs().await) {
        tracing::warn!(error = %error, "what was kept of ended deployments could not be deleted");
    }
    if let Err(error) = engine.give_up_stale_uploads().await {
        tracing::warn!(error = %error, "uploads of lost control planes could not be given up");
    }
    inner.rows.trim_revisions();
    inner.with_sessions.trim(|id| inner.rows.find_live(id).is_some());
}

/// Deletes deployments that ended before, with their history and their logs; as many at a time as makes a short transaction.
async fn purge_ended(engine: &Engine, before: spawnpoint_model::Timestamp) -> Result<(), StoreError> {
    for _ in 0..PURGES_MAX {
        let ids = engine.inner.store.terminated_before(before, PURGE_MAX).await?;
        let is_last = ids.len() < PURGE_MAX as usize;
        let mut tx = Tx::new();
        ids.into_iter().for_each(|id| tx.delete_deployment(id));
        engine.inner.store.commit(tx).await?;
        if is_last {
            break;
        }
    }
    Ok(())
}
