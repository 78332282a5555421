//! What deployments use: sampled, kept, thinned, shown.
//!
//! What it is for: every few seconds each host is asked once for the figures of all its workloads. They are kept in
//! memory for the open minute and stored a minute at a time; after an hour a point a minute is left of them, after a
//! day one every ten minutes, after a week nothing.
//!
//! What it must not know: where a driver has its figures from.
//!
//! Entry points: [`Engine::metrics`] for users, [`Engine::peaks_of`] for the record of a deployment, `sample` and `keep`
//! for the background tasks.
//!
//! ```text
//!  driver.stats_all ──▶ buffer ──a minute──▶ metric_samples: raw ──1 h──▶ a minute ──24 h──▶ ten minutes ──7 d──▶ gone
//!                          │                       │
//!                          └────────── fold ◀──────┘     totals over all attempts, rates between neighbours
//!                                        │
//!                                     series             steps, or the points themselves
//! ```
//!
//! Points hold counters, not rates (see `points.rs`). So nothing here depends on who sampled, on how regularly, or on
//! what happened to the control plane between two points, and two control planes that sample the same host double
//! nothing. What nobody saw is a gap.

mod buffer;
mod fold;
mod points;
mod series;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use spawnpoint_model::token::Actor;
use spawnpoint_model::units::Resources;
use spawnpoint_model::{CpuUnits, DeploymentId, Timestamp};
use spawnpoint_store::{MetricChunk, Tx};

pub(crate) use buffer::Buffer;
use fold::floor;
use points::{Point, unpack};
pub use series::{Report, Series};

use crate::hosts::HostRuntime;
use crate::{Engine, Error};

/// The tiers, by how coarse they are.
const RAW: u32 = 0;
const MINUTES: u32 = 1;
const TENS: u32 = 2;
const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A driver that does not answer within this is left alone until the next time.
const SAMPLE_PATIENCE: Duration = Duration::from_secs(60);
/// Rows that are stored in one transaction: other transactions wait for it.
const ROWS_MAX: usize = 500;
/// Deployments whose points are thinned in one transaction.
const THINNED_MAX: u32 = 50;
/// Such transactions in a row; what is left comes next time.
const THINNING_MAX: u32 = 200;
/// Between two looks whether there is something to store.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether points are old enough to be thinned.
const THIN_EVERY: Duration = Duration::from_secs(60);
/// Values of one series in an answer: two days in steps of half a minute.
pub const VALUES_MAX: usize = 5760;
/// Values of a series where nobody says how long the steps are to be, at most.
const VALUES_WANTED: usize = 240;

/// How often is sampled, and for how long what is kept. 0 = never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two samples of a host; 0 = none are taken.
    pub sample_every: Duration,
    /// Points as they were sampled, at least; then one a minute is left.
    pub raw_for: Duration,
    /// Points for a minute, at least; then one every ten minutes is left.
    pub minutes_for: Duration,
    /// Anything at all, at least.
    pub kept_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sample_every: Duration::from_secs(10), raw_for: HOUR, minutes_for: DAY, kept_for: DAY * 7 }
    }
}

/// How long a step is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Half a minute.
    HalfMinute,
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// Ten minutes.
    TenMinutes,
    /// An hour.
    Hour,
}

impl Step {
    /// All of them, the shortest first.
    pub const ALL: [Self; 5] =
        [Self::HalfMinute, Self::Minute, Self::FiveMinutes, Self::TenMinutes, Self::Hour];

    /// Its length.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::HalfMinute => Duration::from_secs(30),
            Self::Minute => MINUTE,
            Self::FiveMinutes => Duration::from_secs(300),
            Self::TenMinutes => TEN_MINUTES,
            Self::Hour => HOUR,
        }
    }
}

/// How finely figures are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detail {
    /// In the shortest steps that give a readable number of values.
    #[default]
    Fitting,
    /// In such steps.
    Steps(Step),
    /// As they are kept.
    Raw,
}

/// Which figures are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MetricsQuery {
    /// From when on; `None` = the deployment's start.
    pub start: Option<Timestamp>,
    /// Until when; `None` = the deployment's end, or now.
    pub end: Option<Timestamp>,
    /// How finely.
    pub detail: Detail,
}

/// The most that a deployment was seen to use.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Peaks {
    /// CPU, in percent of what it may use, as the mean between two samples; 0 if none are known.
    pub cpu_percent: f64,
    /// Bytes of memory; 0 if none are known.
    pub memory_bytes: u64,
}

impl Engine {
    /// What a deployment used; also for a while after it has ended. One that never ran used nothing.
    ///
    /// # Errors
    /// `NotFound`; `Unprocessable` if the end is not after the start, or the answer would be too long.
    pub async fn metrics(
        &self,
        actor: &Actor,
        id: DeploymentId,
        query: MetricsQuery,
    ) -> Result<Report, Error> {
        let row = self.get_deployment(actor, id).await?.deployment;
        let lifetime = row.spec.created_at..row.state.ended_at.unwrap_or_else(|| self.now());
        let range = query.start.unwrap_or(lifetime.start)..query.end.unwrap_or(lifetime.end);
        // Without either, a deployment that has only just been asked for has no length yet, and that is no mistake.
        if range.end <= range.start && (query.start.is_some() || query.end.is_some()) {
            return Err(Error::Unprocessable("end_time must be after start_time".to_owned()));
        }
        let step = step(query.detail, &range)?;
        let seen = fold::fold(&self.points_of(id).await?);
        if step.is_none() {
            let inside = seen.iter().filter(|seen| series::is_inside(seen, &range)).count();
            check_length(inside, "a shorter time, or steps instead of raw")?;
        }
        Ok(Report::of(&seen, &range, step, row.spec.resources.cpu))
    }

    /// The most that a deployment was seen to use; `None` if it was never seen.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn peaks_of(&self, id: DeploymentId) -> Result<Option<Peaks>, Error> {
        let Some(row) = self.inner.rows.find(id).await? else { return Ok(None) };
        Ok(peaks(&self.points_of(id).await?, row.spec.resources))
    }

    /// Every point of a deployment, in the order of time.
    async fn points_of(&self, id: DeploymentId) -> Result<Vec<Point>, Error> {
        // First what is not stored: what is stored between the two looks is found twice, not missed.
        let open = self.inner.metrics.of(id);
        let stored = self.inner.store.metrics(id).await?;
        let mut chunks: HashMap<(u32, Timestamp), &MetricChunk> = HashMap::new();
        for chunk in stored.iter().chain(&open) {
            let kept = chunks.entry((chunk.tier, chunk.start_at)).or_insert(chunk);
            // Another control plane may have seen more.
            if chunk.points.len() > kept.points.len() {
                *kept = chunk;
            }
        }
        let mut points: Vec<Point> = chunks.into_values().flat_map(unpacked).collect();
        points.sort_unstable_by_key(|point| (point.at, point.attempt));
        Ok(points)
    }

    /// Asks one host for the figures of its workloads. What goes wrong leaves a gap.
    async fn sample_host(&self, runtime: &HostRuntime, slot: Timestamp) {
        let answer = tokio::time::timeout(SAMPLE_PATIENCE, runtime.driver().stats_all()).await;
        let now = self.now();
        match answer {
            Ok(Ok(all)) => {
                let point = |(id, stats): &(spawnpoint_model::WorkloadId, _)| {
                    (id.deployment, Point::of(stats, id.attempt, now))
                };
                self.inner.metrics.push(slot, all.iter().map(point));
            }
            Ok(Err(error)) => {
                tracing::debug!(host.id = %runtime.id(), error = %error, "no figures from this host now");
            }
            Err(_) => tracing::debug!(host.id = %runtime.id(), "no figures from this host in time"),
        }
    }

    /// Stores the minutes that are over; all of them if `everything`.
    pub(crate) async fn store_metrics(&self, everything: bool) -> Result<(), Error> {
        let buffer = &self.inner.metrics;
        let over = (!everything).then(|| self.now());
        loop {
            let rows = buffer.finished(over, ROWS_MAX);
            if rows.is_empty() {
                return Ok(());
            }
            let mut tx = Tx::new();
            rows.iter().for_each(|row| tx.put_metrics(row));
            self.inner.store.commit(tx).await?;
            buffer.stored(&rows);
        }
    }

    /// Leaves fewer points of what is old, and none of what is too old.
    async fn thin_metrics(&self) -> Result<(), Error> {
        let settings = &self.inner.options.metrics;
        self.thin_tier(RAW, settings.raw_for, HOUR, MINUTE).await?;
        self.thin_tier(MINUTES, settings.minutes_for, DAY, TEN_MINUTES).await?;
        let mut tx = Tx::new();
        // A span that has begun in time still holds what is to be kept.
        tx.purge_metrics(TENS, floor(back(self.now(), settings.kept_for), DAY));
        Ok(self.inner.store.commit(tx).await?)
    }

    /// Makes one row of the next tier, with a point for each `detail`, out of every whole `span` of a tier that is old.
    async fn thin_tier(
        &self,
        tier: u32,
        keep: Duration,
        span: Duration,
        detail: Duration,
    ) -> Result<(), Error> {
        let store = &self.inner.store;
        let before = floor(back(self.now(), keep), span);
        for _ in 0..THINNING_MAX {
            let aged = store.aged_metrics(tier, before, THINNED_MAX).await?;
            if aged.is_empty() {
                return Ok(());
            }
            let mut tx = Tx::new();
            for (id, oldest) in aged {
                let begin = floor(oldest, span);
                let end = begin.plus(span);
                // Late points are added to what was made of the earlier ones.
                let mut chunks = store.metrics_between(id, tier, begin, end).await?;
                chunks.extend(store.metrics_between(id, tier + 1, begin, end).await?);
                let mut points: Vec<Point> = chunks.iter().flat_map(unpacked).collect();
                points.sort_unstable_by_key(|point| (point.at, point.attempt));
                let points = points::pack(&fold::thin(&points, detail));
                tx.delete_metrics(id, tier, begin, end);
                tx.delete_metrics(id, tier + 1, begin, end);
                tx.put_metrics(&MetricChunk { deployment: id, tier: tier + 1, start_at: begin, points });
            }
            store.commit(tx).await?;
        }
        Ok(())
    }
}

/// Samples one host at every multiple of the period, on the engine's clock.
pub(crate) async fn sample(engine: Engine, runtime: Arc<HostRuntime>) {
    let every = engine.inner.options.metrics.sample_every;
    let look = (every / 20).clamp(Duration::from_millis(10), Duration::from_millis(500));
    let mut last = None;
    loop {
        let slot = floor(engine.now(), every);
        if last.replace(slot) != Some(slot) {
            engine.sample_host(&runtime, slot).await;
        }
        let rest = slot.plus(every).since(engine.now());
        tokio::time::sleep(rest.clamp(Duration::from_millis(1), look)).await;
    }
}

/// Stores what was sampled, and thins what is old.
pub(crate) async fn keep(engine: Engine) {
    let every = match engine.inner.options.metrics.sample_every {
        Duration::ZERO => KEEP_EVERY,
        every => every.clamp(Duration::from_millis(50), KEEP_EVERY),
    };
    let mut thinned: Option<Timestamp> = None;
    loop {
        if let Err(error) = engine.store_metrics(false).await {
            tracing::warn!(error = %error, "figures could not be stored yet");
        }
        if thinned.is_none_or(|at| engine.now().since(at) >= THIN_EVERY) {
            thinned = Some(engine.now());
            if let Err(error) = engine.thin_metrics().await {
                tracing::warn!(error = %error, "old figures could not be thinned");
            }
        }
        tokio::time::sleep(every).await;
    }
}

fn unpacked(chunk: &MetricChunk) -> Vec<Point> {
    unpack(&chunk.points, chunk.tier).unwrap_or_else(|| {
        tracing::warn!(deployment.id = %chunk.deployment, "stored figures cannot be read; they are left out");
        Vec::new()
    })
}

fn peaks(points: &[Point], allowed: Resources) -> Option<Peaks> {
    let (cpu, memory) = fold::peaks(points);
    if cpu.is_none() && memory.is_none() {
        return None;
    }
    // Thousandths of a CPU, as percent of what it may use.
    let share = f64::from(CpuUnits::ONE.0) / f64::from(allowed.cpu.0.max(1)) / 10.0;
    let cpu_percent = fold::exact(cpu.unwrap_or(0)) * share;
    Some(Peaks { cpu_percent, memory_bytes: memory.unwrap_or(0) })
}

/// The length of the steps; `None` for no steps.
fn step(detail: Detail, range: &Range<Timestamp>) -> Result<Option<Duration>, Error> {
    let values = |step: Step| {
        let steps = range.end.since(range.start).as_millis().div_ceil(step.length().as_millis());
        // A range that begins within a step ends within one more.
        usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1)
    };
    match detail {
        Detail::Raw => Ok(None),
        Detail::Fitting => {
            let fitting =
                Step::ALL.into_iter().find(|step| values(*step) <= VALUES_WANTED).unwrap_or(Step::Hour);
            check_length(values(fitting), "a shorter time")?;
            Ok(Some(fitting.length()))
        }
        Detail::Steps(step) => {
            check_length(values(step), "a shorter time or longer steps")?;
            Ok(Some(step.length()))
        }
    }
}

fn check_length(values: usize, remedy: &str) -> Result<(), Error> {
    if values <= VALUES_MAX {
        return Ok(());
    }
    let text = format!(
        "that would be {values} values of each kind; at most {VALUES_MAX} are given: ask for {remedy}"
    );
    Err(Error::Unprocessable(text))
}

fn back(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.micros().saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}
