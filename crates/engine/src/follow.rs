//! Follows a deployment's log, over the restarts of its container, until the deployment ends.
//!
//! ```text
//!   look at the row ─▶ a new attempt? ─▶ open its log, following ─▶ lines … ─▶ it ended ─┐
//!          ▲  ▲            │ no: wait LOOK_AGAIN                 │ broke off: resume      │
//!          │  └────────────┘                                     └──────────┐             │
//!          └────────────────────────────────────────────────────────────────┴─────────────┘
//!   the row has ended ─▶ what was kept of attempts that were not seen ─▶ End
//! ```
//!
//! Nothing is read ahead: a piece is fetched when the one before has been taken, so a reader that is slow holds one piece.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use spawnpoint_driver::{LogFrom, LogStream, Running};
use spawnpoint_model::deployment::{Phase, Status};
use spawnpoint_model::token::Actor;
use spawnpoint_model::{Deployment, DeploymentId, Timestamp};
use spawnpoint_store::KeptLog;

use crate::log_text::{Lines, LogLine};
use crate::logs::unpacked;
use crate::{Engine, Error};

/// Between two looks at a row whose log does not flow.
const LOOK_AGAIN: Duration = Duration::from_millis(400);
/// For a host to begin.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// Bytes of the log that were written before somebody began to follow, and are shown to him.
const BEFORE: usize = 64 * 1024;

/// What a follower is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Followed {
    /// A line.
    Line(LogLine),
    /// Lines are of this attempt from now on: the container was started anew.
    Restarted(u32),
    /// The deployment has ended.
    End(Status),
}

impl Engine {
    /// The log as it is written, beginning with a little of what was written before, or with what was written after
    /// `since`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn follow_logs(
        &self,
        actor: &Actor,
        id: DeploymentId,
        since: Option<Timestamp>,
    ) -> Result<impl Stream<Item = Followed> + Send + use<>, Error> {
        let row = self.find_visible(actor, id).await?;
        let follower = Follower {
            engine: self.clone(),
            id,
            done: row.state.attempt.saturating_sub(1),
            shown: None,
            live: None,
            resume: since.map(|since| since.plus(Duration::from_micros(1))),
            first: true,
            lines: Lines::default(),
            queue: VecDeque::new(),
            ended: false,
        };
        Ok(stream::unfold(follower, |mut follower| async move {
            let item = Box::pin(follower.next()).await?;
            Some((item, follower))
        }))
    }
}

impl Engine {
    /// Whether an attempt whose log came to an end will write nothing more. A stream may also break off.
    async fn log_has_ended(&self, id: DeploymentId, attempt: u32) -> bool {
        let Ok(Some(row)) = self.inner.rows.find(id).await else { return false };
        if row.state.attempt != attempt || !row.state.phase.may_have_workload() {
            return true;
        }
        let runtime = row.state.host.as_ref().and_then(|host| self.inner.fleet.find(host));
        let Some(runtime) = runtime else { return true };
        let look = tokio::time::timeout(OPEN_MAX, runtime.driver().inspect(row.workload())).await;
        match look {
            Ok(Ok(Some(seen))) => matches!(seen.state, Running::Exited(_)),
            Ok(Ok(None)) => true,
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

struct Follower {
    engine: Engine,
    id: DeploymentId,
    /// Attempts up to this one have been shown to their end.
    done: u32,
    /// The attempt whose lines were shown last.
    shown: Option<u32>,
    /// An attempt's log, flowing.
    live: Option<(u32, LogStream)>,
    /// What is older was shown.
    resume: Option<Timestamp>,
    /// Nobody has opened a log for this follower yet.
    first: bool,
    lines: Lines,
    queue: VecDeque<Followed>,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Followed> {
        let stop = self.engine.inner.stop.clone();
        loop {
            if let Some(item) = self.queue.pop_front() {
                return Some(item);
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                () = self.step() => {}
                () = stop.cancelled() => return None,
            }
        }
    }

    /// Does one thing: takes a piece, or looks for where the next one comes from.
    async fn step(&mut self) {
        if let Some((attempt, log)) = &mut self.live {
            let attempt = *attempt;
            match log.next().await {
                Some(Ok(piece)) => {
                    self.resume = piece.at.map(|at| at.plus(Duration::from_micros(1))).or(self.resume);
                    self.take(attempt, |lines, into| lines.push(&piece, into));
                }
                Some(Err(_)) | None => {
                    self.live = None;
                    if self.engine.log_has_ended(self.id, attempt).await {
                        self.close(attempt);
                    } else {
                        // An engine that gives no times gives nothing to go on from either.
                        self.resume = self.resume.or(Some(self.engine.now()));
                        tokio::time::sleep(LOOK_AGAIN).await;
                    }
                }
            }
            return;
        }
        match self.engine.inner.rows.find(self.id).await {
            Ok(Some(row)) => self.look(&row).await,
            Ok(None) => self.end(Status::Terminated),
            Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }

    async fn look(&mut self, row: &Deployment) {
        let attempt = row.state.attempt;
        let is_over = matches!(row.state.phase, Phase::Terminated(_) | Phase::Failed(_));
        // What came and went while nobody looked.
        if is_over || attempt > self.done + 1 {
            self.show_kept(if is_over { u32::MAX } else { attempt }).await;
        }
        if is_over {
            return self.end(row.status());
        }
        if attempt > self.done && row.state.phase.may_have_workload() && self.open(row).await {
            return;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }

    /// Opens the log of the row's attempt; `false` if that cannot be done now.
    async fn open(&mut self, row: &Deployment) -> bool {
        let Some(runtime) = row.state.host.as_ref().and_then(|host| self.engine.inner.fleet.find(host))
        else {
            return false;
        };
        let from = match self.resume {
            Some(since) => LogFrom::Since(since),
            None if self.first => LogFrom::Tail(BEFORE),
            None => LogFrom::Start,
        };
        let open = runtime.driver().logs(row.workload(), from, true);
        match tokio::time::timeout(OPEN_MAX, open).await {
            Ok(Ok(log)) => {
                self.live = Some((row.state.attempt, log));
                self.first = false;
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Shows what was kept of attempts before `until` that were not shown.
    async fn show_kept(&mut self, until: u32) {
        let kept = self.engine.inner.store.kept_logs(self.id).await.unwrap_or_default();
        let is_new = |log: &&KeptLog| log.attempt < until && log.attempt > self.done;
        let new: Vec<KeptLog> = kept.iter().filter(is_new).rev().cloned().collect();
        for log in &new {
            let resume = self.resume;
            let pieces = unpacked(log).pieces;
            let is_unseen =
                |at: Option<Timestamp>| resume.is_none_or(|resume| at.is_none_or(|at| at >= resume));
            for piece in pieces.iter().filter(|piece| is_unseen(piece.at)) {
                self.take(log.attempt, |lines, into| lines.push(piece, into));
            }
            self.close(log.attempt);
        }
    }

    /// An attempt's log is over.
    fn close(&mut self, attempt: u32) {
        self.take(attempt, Lines::finish);
        self.done = self.done.max(attempt);
        (self.resume, self.first) = (None, false);
    }

    fn take(&mut self, attempt: u32, make: impl FnOnce(&mut Lines, &mut VecDeque<LogLine>)) {
        let mut lines = VecDeque::new();
        make(&mut self.lines, &mut lines);
        if !lines.is_empty() && self.shown != Some(attempt) {
            if self.shown.is_some() {
                self.queue.push_back(Followed::Restarted(attempt));
            }
            self.shown = Some(attempt);
        }
        self.queue.extend(lines.into_iter().map(Followed::Line));
    }

    fn end(&mut self, status: Status) {
        self.queue.push_back(Followed::End(status));
        self.ended = true;
    }
}
