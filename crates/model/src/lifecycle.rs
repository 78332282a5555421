//! The lifecycle of a deployment: one pure function, [`decide`], and the few changes that come from outside of it
//! ([`place_on`], [`refuse`], [`stop`], [`adopt`]). No phase changes anywhere else.
//!
//! ```text
//!            place_on              Start asked            listening
//!  Pending ────────────▶ Placed ───────────────▶ Starting ─────────▶ Ready
//!     ▲ │                                         ▲   │               │ │
//!     │ │ refuse                                  │   │ failed        │ │ exited, restart
//!     │ ▼                                         │   ▼               │ │ policy says again
//!     │ Failed ◀──────────── Stopping(Fail) ◀─────┼───┤               │ │
//!     │   │                                       │   │               │ │
//!     └───┼───────────────── Stopping(Replace) ◀──┼───┘               │ │
//!         │                                       │                   │ │
//!         │                  Stopping(Restart) ───┘ ◀─────────────────┼─┘
//!         │ stop, retention                              stop, expired│, exited for good
//!         ▼                                                           ▼
//!     Terminated ◀─────────────────────────────────────── Stopping(Terminate)
//! ```
//!
//! Rules that hold everywhere:
//! - A row leaves `Stopping` only when its host has said that the workload is absent. Whatever ends a start passes
//!   through `Stopping`, since a start whose answer was lost may be real.
//! - The caller saves the new row before it carries out the action; repeating an action is harmless.
//! - A stop that comes before READY or ERROR is kept in `desired` and carried out when either is reached.
//! - While a restart is under way the deployment is READY for its users.

use std::time::Duration;

use crate::app::RestartPolicy;
use crate::deployment::{After, Deployment, Desired, Exit, Failure, FailureKind, Phase, Status, StopCause};
use crate::ids::HostId;
use crate::port::PortBinding;
use crate::time::Timestamp;
use crate::webhook::WebhookEvent;

/// A deployment of a smart fleet works if it has run for this long after its ports were seen open…
const PROOF_CHECKED: Duration = Duration::from_secs(10);
/// … or for this long where no port is looked at.
const PROOF_UNCHECKED: Duration = Duration::from_secs(30);
/// Exit code of a process that was ended by SIGKILL.
const SIGKILLED: i32 = 128 + 9;

/// Times and budgets of the lifecycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A deployment whose host has not answered for this long has failed.
    pub host_lost_after: Duration,
    /// Restarts that are allowed until it has run for `restart_forget_after`.
    pub restarts_max: u32,
    /// Pause before the first restart; doubles with each further one.
    pub restart_pause: Duration,
    /// After running for this long, earlier restarts are forgotten.
    pub restart_forget_after: Duration,
    /// New attempts on another host before a start is given up.
    pub replacements_max: u32,
    /// New attempts with other ports before a start is given up.
    pub port_retries_max: u32,
    /// Records in error are retired after this long.
    pub error_retention: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            host_lost_after: Duration::from_secs(300),
            restarts_max: 5,
            restart_pause: Duration::from_secs(1),
            restart_forget_after: Duration::from_secs(600),
            replacements_max: 1,
            port_retries_max: 3,
            error_retention: Duration::from_secs(24 * 3600),
        }
    }
}

/// What was seen of the present attempt's workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Observation {
    /// Nobody looked.
    Nothing,
    /// The host did not answer.
    Unreachable,
    /// The host says that there is no such workload.
    Absent,
    /// It is made, and its process does not run yet.
    Starting,
    /// Its process runs; `listening`: on every port that is to be checked.
    Running {
        /// All checked ports are open.
        listening: bool,
    },
    /// Its process has ended.
    Exited(Exit),
    /// The start that was just tried has failed for certain.
    StartFailed(Failure, Retry),
}

/// Whether another attempt may do better than a failed start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// No.
    Never,
    /// On another host.
    Elsewhere,
    /// With other host ports, here or elsewhere.
    OtherPorts,
}

/// The one thing to do next, after the row was saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing until [`due_at`], a hint or a request.
    Rest,
    /// Decide again at once.
    Again,
    /// Choose a host: [`place_on`] or [`refuse`].
    Place,
    /// Look at the workload, then decide again.
    Observe,
    /// Look at the workload again in a little while.
    Poll,
    /// Make and start the workload, then decide with what came of it.
    Start,
    /// SIGTERM, with this much time until SIGKILL. Asked for until the workload has ended; the caller sends one signal
    /// per attempt (again only after it was itself restarted) and waits between.
    Stop(Duration),
    /// SIGKILL and free everything.
    Remove,
}

/// What [`decide`] says.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The row as it must be saved before anything is done; `None` = unchanged.
    pub next: Option<Deployment>,
    /// What to do then.
    pub action: Action,
    /// Webhooks that are due with this change.
    pub webhooks: Vec<WebhookEvent>,
    /// Ports and capacity of the row's host are given back with this change.
    pub release: bool,
}

impl Decision {
    const fn only(action: Action) -> Self {
        Self { next: None, action, webhooks: Vec::new(), release: false }
    }

    fn change(next: Deployment, action: Action) -> Self {
        Self { next: Some(next), action, webhooks: Vec::new(), release: false }
    }

    fn announcing(mut self, event: WebhookEvent) -> Self {
        self.webhooks.push(event);
        self
    }
}

/// What is to be done with `row`, given what was seen of its workload. Pure.
#[must_use]
pub fn decide(row: &Deployment, seen: &Observation, now: Timestamp, rules: &Rules) -> Decision {
    match &row.state.phase {
        Phase::Pending => pending(row, now),
        Phase::Placed => placed(row, now),
        Phase::Starting => starting(row, seen, now, rules),
        Phase::Ready => ready(row, seen, now, rules),
        Phase::Stopping(after) => stopping(row, after, seen, now, rules),
        Phase::Failed(_) => failed(row, now, rules),
        Phase::Terminated(_) => Decision::only(Action::Rest),
    }
}

/// The row with a host, its ports and a new attempt. For rows in `Pending` only; others are returned unchanged.
#[must_use]
pub fn place_on(row: &Deployment, host: HostId, ports: Vec<PortBinding>, now: Timestamp) -> Deployment {
    if row.state.phase != Phase::Pending {
        return row.clone();
    }
    let mut next = row.clone();
    next.state.attempt += 1;
    next.state.host = Some(host);
    next.state.ports = ports;
    enter(row, next, Phase::Placed, now)
}

/// The row in error since no host could take it. For rows in `Pending` only.
#[must_use]
pub fn refuse(row: &Deployment, failure: Failure, now: Timestamp) -> Decision {
    let mut next = row.clone();
    next.state.ended_at = Some(now);
    Decision::change(enter(row, next, Phase::Failed(failure), now), Action::Again)
        .announcing(WebhookEvent::Error)
}

/// The row with a stop asked for; `None` if it has ended or a stop was asked for before.
#[must_use]
pub fn request_stop(row: &Deployment, cause: StopCause) -> Option<Deployment> {
    let ended = matches!(row.state.phase, Phase::Terminated(_));
    if ended || row.state.desired != Desired::Run {
        return None;
    }
    let mut next = row.clone();
    next.generation += 1;
    next.state.desired = Desired::Stop(cause);
    Some(next)
}

/// A stop, carried out as far as the row's own state allows: a deployment that is READY or in ERROR changes at once, so
/// that no user sees it as playable after the answer; any other keeps the wish. `None` as for [`request_stop`].
#[must_use]
pub fn stop(row: &Deployment, cause: StopCause, now: Timestamp, rules: &Rules) -> Option<Decision> {
    let asked = request_stop(row, cause)?;
    if !stops_at_once(row.status()) {
        return Some(Decision::change(asked, Action::Again));
    }
    let mut decision = decide(&asked, &Observation::Nothing, now, rules);
    let next = decision.next.get_or_insert(asked);
    // Both steps are one change.
    next.generation = row.generation + 1;
    Some(decision)
}

/// When `row` has to be looked at again even if nobody asks; `None` = never.
#[must_use]
pub fn due_at(row: &Deployment, rules: &Rules) -> Option<Timestamp> {
    let state = &row.state;
    let wants_stop = state.desired != Desired::Run;
    match &state.phase {
        Phase::Pending | Phase::Placed | Phase::Stopping(_) => Some(state.phase_since),
        Phase::Starting => Some(state.not_before.unwrap_or(state.phase_since)),
        Phase::Ready if wants_stop => Some(state.phase_since),
        Phase::Ready => {
            let lost = state.unreachable_since.map(|since| since.plus(rules.host_lost_after));
            [ends_at(row), lost, proven_at(row)].into_iter().flatten().min()
        }
        Phase::Failed(_) if wants_stop => Some(state.phase_since),
        Phase::Failed(_) => Some(state.phase_since.plus(rules.error_retention)),
        Phase::Terminated(_) => None,
    }
}

/// When `max_duration` is over; `None` before READY and for deployments without one.
#[must_use]
pub fn expires_at(row: &Deployment) -> Option<Timestamp> {
    let minutes = u64::try_from(row.spec.max_duration_minutes).ok().filter(|m| *m > 0)?;
    Some(row.state.ready_at?.plus(Duration::from_secs(minutes * 60)))
}

/// When it has been without a session for as long as its version allows; `None` if there is a session, before READY, and
/// where nothing is allowed for.
#[must_use]
pub fn empty_ends_at(row: &Deployment) -> Option<Timestamp> {
    row.spec.sockets()?;
    let minutes = u64::from(row.spec.session?.empty_ttl_minutes?);
    let since = row.state.empty_since?.max(row.state.ready_at?);
    Some(since.plus(Duration::from_secs(minutes * 60)))
}

/// When it ends by itself.
#[must_use]
pub fn ends_at(row: &Deployment) -> Option<Timestamp> {
    [expires_at(row), empty_ends_at(row)].into_iter().flatten().min()
}

/// When a deployment of a smart fleet has run long enough to count as one that works.
fn proven_at(row: &Deployment) -> Option<Timestamp> {
    if row.spec.origin.is_none() || row.state.proven {
        return None;
    }
    let checked = row.state.ports.iter().any(|port| port.to_check);
    Some(row.state.up_since?.plus(if checked { PROOF_CHECKED } else { PROOF_UNCHECKED }))
}

/// Whether something else than its image ends a deployment that was ready: a user, time, its host, a kill from outside.
fn ends_from_outside(row: &Deployment, after: &After) -> bool {
    let killed = row.state.exit.is_some_and(|exit| exit.code == SIGKILLED && !exit.oom && !exit.disk);
    row.state.ready_at.is_some()
        && match after {
            After::Terminate(StopCause::User | StopCause::Expired | StopCause::Empty) => true,
            After::Terminate(StopCause::Exited) => killed,
            After::Fail(failure) => match failure.kind {
                FailureKind::Vanished | FailureKind::HostLost => true,
                FailureKind::CrashLoop => killed,
                _ => false,
            },
            _ => false,
        }
}

/// `next` in `phase`: counts the generation, notes the time and, if the status changes, the status before.
fn enter(before: &Deployment, mut next: Deployment, phase: Phase, now: Timestamp) -> Deployment {
    next.state.phase = phase;
    next.state.phase_since = now;
    next.generation = before.generation + 1;
    if next.status() != before.status() {
        next.state.last_status = Some(before.status());
    }
    next
}

fn pending(row: &Deployment, now: Timestamp) -> Decision {
    if row.state.desired == Desired::Run {
        return Decision::only(Action::Place);
    }
    // A stop came while a failed attempt was being replaced: do not begin another one.
    refuse(row, Failure::new(FailureKind::StartFailed, "stopped before another attempt was made"), now)
}

fn placed(row: &Deployment, now: Timestamp) -> Decision {
    let mut next = row.clone();
    next.state.deadline = Some(now.plus(time_to_deploy(row)));
    next.state.not_before = None;
    Decision::change(enter(row, next, Phase::Starting, now), Action::Start)
}

fn starting(row: &Deployment, seen: &Observation, now: Timestamp, rules: &Rules) -> Decision {
    if let Some(stop) = stop_if_due(row, now) {
        return stop;
    }
    if let Observation::StartFailed(failure, retry) = seen {
        return start_failed(row, failure.clone(), *retry, now, rules);
    }
    if let Observation::Exited(exit) = seen {
        return exited(row, *exit, now, rules);
    }
    if matches!(seen, Observation::Running { listening: true }) {
        return became_ready(row, now);
    }
    if row.state.deadline.is_some_and(|deadline| now >= deadline) {
        let (detail, retry) = match seen {
            // Its host may be running it unseen: no second attempt until that is known.
            Observation::Unreachable => ("its host did not answer in time", Retry::Never),
            Observation::Running { .. } => ("it did not open its ports in time", Retry::Never),
            _ => ("it was not started in time", Retry::Elsewhere),
        };
        return start_failed(row, Failure::new(FailureKind::NotReadyInTime, detail), retry, now, rules);
    }
    if row.state.not_before.is_some_and(|earliest| now < earliest) {
        return Decision::only(Action::Rest);
    }
    match seen {
        Observation::Nothing => Decision::only(Action::Observe),
        Observation::Absent | Observation::Starting => Decision::only(Action::Start),
        _ => Decision::only(Action::Poll),
    }
}

fn became_ready(row: &Deployment, now: Timestamp) -> Decision {
    let mut next = row.clone();
    let first = next.state.ready_at.is_none();
    next.state.ready_at.get_or_insert(now);
    next.state.up_since = Some(now);
    next.state.deadline = None;
    next.state.not_before = None;
    next.state.unreachable_since = None;
    let decision = Decision::change(enter(row, next, Phase::Ready, now), Action::Again);
    if first { decision.announcing(WebhookEvent::Ready) } else { decision }
}

fn ready(row: &Deployment, seen: &Observation, now: Timestamp, rules: &Rules) -> Decision {
    if let Some(stop) = stop_if_due(row, now) {
        return stop;
    }
    match seen {
        Observation::Exited(exit) => exited(row, *exit, now, rules),
        Observation::Nothing | Observation::Running { .. } if proven_at(row).is_some_and(|at| now >= at) => {
            let mut next = row.clone();
            next.generation += 1;
            next.state.proven = true;
            Decision::change(next, Action::Again)
        }
        Observation::Absent => {
            let failure = Failure::new(FailureKind::Vanished, "its container is gone from its host");
            leave(row, After::Fail(failure), now, Duration::ZERO)
        }
        Observation::Unreachable => match row.state.unreachable_since {
            None => {
                let mut next = row.clone();
                next.generation += 1;
                next.state.unreachable_since = Some(now);
                Decision::change(next, Action::Rest)
            }
            Some(since) if now.since(since) >= rules.host_lost_after => {
                let failure = Failure::new(FailureKind::HostLost, "its host has not answered for too long");
                leave(row, After::Fail(failure), now, Duration::ZERO)
            }
            Some(_) => Decision::only(Action::Rest),
        },
        Observation::Nothing => Decision::only(Action::Rest),
        Observation::Starting | Observation::Running { .. } | Observation::StartFailed(..) => {
            if row.state.unreachable_since.is_none() {
                return Decision::only(Action::Rest);
            }
            let mut next = row.clone();
            next.generation += 1;
            next.state.unreachable_since = None;
            Decision::change(next, Action::Rest)
        }
    }
}

/// A stop that was asked for, or the end of `max_duration`, once the deployment was ready.
fn stop_if_due(row: &Deployment, now: Timestamp) -> Option<Decision> {
    row.state.ready_at?;
    let grace = Duration::from_secs(u64::from(row.spec.grace_seconds));
    match row.state.desired {
        Desired::Stop(cause) => Some(leave(row, After::Terminate(cause), now, grace)),
        Desired::Run if expires_at(row).is_some_and(|end| now >= end) => {
            Some(leave(row, After::Terminate(StopCause::Expired), now, grace))
        }
        Desired::Run if empty_ends_at(row).is_some_and(|end| now >= end) => {
            Some(leave(row, After::Terminate(StopCause::Empty), now, grace))
        }
        Desired::Run => None,
    }
}

fn start_failed(row: &Deployment, failure: Failure, retry: Retry, now: Timestamp, rules: &Rules) -> Decision {
    if row.state.ready_at.is_some() {
        return restart_or_fail(row, failure, now, rules);
    }
    let budget = match retry {
        Retry::Never => 0,
        Retry::Elsewhere => rules.replacements_max,
        Retry::OtherPorts => rules.port_retries_max,
    };
    let again = row.state.desired == Desired::Run && row.state.replacements < budget;
    if !again {
        return leave(row, After::Fail(failure), now, Duration::ZERO);
    }
    let mut decision = leave(row, After::Replace(failure), now, Duration::ZERO);
    if let Some(next) = &mut decision.next {
        next.state.replacements += 1;
        if let (Retry::Elsewhere, Some(host)) = (retry, &row.state.host) {
            next.state.avoid_hosts.push(host.clone());
        }
    }
    decision
}

fn exited(row: &Deployment, exit: Exit, now: Timestamp, rules: &Rules) -> Decision {
    let mut noted = row.clone();
    noted.state.exit = Some(exit);
    if exit.disk {
        // It would do so again.
        let detail = "it wrote more to its file system than its host allows, and was ended";
        return leave(&noted, After::Fail(Failure::new(FailureKind::DiskFull, detail)), now, Duration::ZERO);
    }
    let reason = if exit.oom { "OOM killed".to_owned() } else { format!("exit code {}", exit.code) };
    if row.state.ready_at.is_none() {
        let detail = format!("its process ended before it was ready ({reason})");
        return leave(
            &noted,
            After::Fail(Failure::new(FailureKind::ExitedBeforeReady, detail)),
            now,
            Duration::ZERO,
        );
    }
    let again = match row.spec.restart_policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit.code != 0,
        RestartPolicy::Never => false,
    };
    if !again {
        return leave(&noted, After::Terminate(StopCause::Exited), now, Duration::ZERO);
    }
    let detail = format!("its process ended too often (last: {reason})");
    restart_or_fail(&noted, Failure::new(FailureKind::CrashLoop, detail), now, rules)
}

fn restart_or_fail(row: &Deployment, failure: Failure, now: Timestamp, rules: &Rules) -> Decision {
    let ran_long = row.state.up_since.is_some_and(|up| now.since(up) >= rules.restart_forget_after);
    let recent = if ran_long { 0 } else { row.state.recent_restarts };
    if recent >= rules.restarts_max {
        return leave(row, After::Fail(failure), now, Duration::ZERO);
    }
    let mut decision = leave(row, After::Restart, now, Duration::ZERO);
    if let Some(next) = &mut decision.next {
        next.state.restarts += 1;
        next.state.recent_restarts = recent + 1;
    }
    decision
}

/// Begins to remove the workload. With a grace the process is asked first; without, it is ended at once.
fn leave(row: &Deployment, after: After, now: Timestamp, grace: Duration) -> Decision {
    let mut next = row.clone();
    next.state.deadline = Some(now.plus(grace));
    next.state.not_before = None;
    next.state.proven |= row.spec.origin.is_some() && ends_from_outside(row, &after);
    let failed = matches!(after, After::Fail(_));
    let action = if grace.is_zero() { Action::Remove } else { Action::Stop(grace) };
    let decision = Decision::change(enter(row, next, Phase::Stopping(after), now), action);
    if failed { decision.announcing(WebhookEvent::Error) } else { decision }
}

fn stopping(row: &Deployment, after: &After, seen: &Observation, now: Timestamp, rules: &Rules) -> Decision {
    if let Some(redirected) = redirect(row, after, now) {
        return redirected;
    }
    match seen {
        Observation::Absent => gone(row, after, now, rules),
        Observation::Exited(exit) if row.state.exit != Some(*exit) => {
            let mut next = row.clone();
            next.generation += 1;
            next.state.exit = Some(*exit);
            Decision::change(next, Action::Remove)
        }
        Observation::Exited(_) => Decision::only(Action::Remove),
        Observation::Starting | Observation::Running { .. } => {
            let grace_left = row.state.deadline.map_or(Duration::ZERO, |end| end.since(now));
            if grace_left.is_zero() {
                Decision::only(Action::Remove)
            } else {
                Decision::only(Action::Stop(grace_left))
            }
        }
        Observation::Unreachable => Decision::only(Action::Poll),
        Observation::Nothing | Observation::StartFailed(..) => Decision::only(Action::Observe),
    }
}

/// A stop that comes while another attempt was intended ends that intent.
fn redirect(row: &Deployment, after: &After, now: Timestamp) -> Option<Decision> {
    let Desired::Stop(cause) = row.state.desired else { return None };
    match after {
        After::Restart => {
            let next = enter(row, row.clone(), Phase::Stopping(After::Terminate(cause)), now);
            Some(Decision::change(next, Action::Observe))
        }
        After::Replace(failure) => {
            let next = enter(row, row.clone(), Phase::Stopping(After::Fail(failure.clone())), now);
            Some(Decision::change(next, Action::Observe).announcing(WebhookEvent::Error))
        }
        After::Terminate(_) | After::Fail(_) => None,
    }
}

/// The host has said that nothing of the attempt is left.
fn gone(row: &Deployment, after: &After, now: Timestamp, rules: &Rules) -> Decision {
    let mut next = row.clone();
    next.state.deadline = None;
    next.state.unreachable_since = None;
    match after {
        After::Terminate(cause) => {
            next.state.ended_at = Some(now);
            let next = enter(row, next, Phase::Terminated(*cause), now);
            let decision = Decision::change(next, Action::Rest).announcing(WebhookEvent::Terminated);
            Decision { release: true, ..decision }
        }
        After::Fail(failure) => {
            next.state.ended_at = Some(now);
            let next = enter(row, next, Phase::Failed(failure.clone()), now);
            Decision { release: true, ..Decision::change(next, Action::Again) }
        }
        After::Replace(_) => {
            next.state.host = None;
            next.state.ports.clear();
            Decision {
                release: true,
                ..Decision::change(enter(row, next, Phase::Pending, now), Action::Again)
            }
        }
        After::Restart => {
            let doublings = row.state.recent_restarts.saturating_sub(1).min(16);
            let pause = rules.restart_pause.saturating_mul(1 << doublings);
            next.state.attempt += 1;
            next.state.not_before = Some(now.plus(pause));
            next.state.deadline = Some(now.plus(pause).plus(time_to_deploy(row)));
            Decision::change(enter(row, next, Phase::Starting, now), Action::Again)
        }
    }
}

fn failed(row: &Deployment, now: Timestamp, rules: &Rules) -> Decision {
    let cause = match row.state.desired {
        Desired::Stop(cause) => cause,
        Desired::Run if now.since(row.state.phase_since) >= rules.error_retention => StopCause::Retired,
        Desired::Run => return Decision::only(Action::Rest),
    };
    let next = enter(row, row.clone(), Phase::Terminated(cause), now);
    Decision::change(next, Action::Rest).announcing(WebhookEvent::Terminated)
}

/// The row with the attempt that its host runs, where the row knows an older one only: its database was restored from
/// a backup. `None` if that cannot be.
#[must_use]
pub fn adopt(row: &Deployment, attempt: u32, now: Timestamp) -> Option<Deployment> {
    let fits = matches!(row.state.phase, Phase::Starting | Phase::Ready | Phase::Stopping(After::Restart));
    if !fits || attempt <= row.state.attempt {
        return None;
    }
    let mut next = row.clone();
    next.state.attempt = attempt;
    next.state.deadline = Some(now.plus(time_to_deploy(row)));
    next.state.not_before = None;
    let phase = if row.state.ready_at.is_some() { Phase::Ready } else { Phase::Starting };
    Some(enter(row, next, phase, now))
}

fn time_to_deploy(row: &Deployment) -> Duration {
    Duration::from_secs(u64::from(row.spec.time_to_deploy_seconds))
}

/// The statuses in which a stop is carried out at once (the answer is 200); in others it is deferred (202).
#[must_use]
pub const fn stops_at_once(status: Status) -> bool {
    matches!(status, Status::Ready | Status::Error | Status::Terminating)
}

#[cfg(test)]
mod explorer;
#[cfg(test)]
mod tests;
