//! An exhaustive explorer of [`decide`]: every reachable state of one deployment and its world is visited, with
//! everything that can go wrong tried at every step: the control plane dies before it saves, between saving and acting,
//! or after acting; a start fails, or its answer is lost, or its effect comes late; the process ends; the container is
//! removed by hand; the host goes silent and comes back; a user stops; time passes.
//!
//! It checks in every state that no two containers of the deployment exist, that no container is left where the row
//! says that none can be, that each webhook comes at most once; and from every state that, once nothing goes wrong any
//! more, the deployment comes to rest, and ends clean if a stop was asked for.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::*;
use crate::deployment::{DeploymentSpec, State};
use crate::lifecycle::tests::row;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Container {
    Running,
    Exited(i32),
}

/// The rule that is explored: [`decide`], or a broken one.
type Rule = fn(&Deployment, &Observation, Timestamp, &Rules) -> Decision;

#[derive(Clone, Debug)]
struct World {
    rule: Rule,
    row: Deployment,
    now: Timestamp,
    /// Containers by attempt.
    containers: Vec<(u32, Container)>,
    /// A start whose effect may still come.
    late: Option<u32>,
    /// What the last start said, if the control plane lives to hear it.
    heard: Option<Observation>,
    silent: bool,
    /// Ready, error, terminated.
    webhooks: [u8; 3],
    mischief: u8,
}

/// Faults that may happen along one path. More adds states, not kinds of states.
const MISCHIEF_MAX: u8 = 3;

fn rules() -> Rules {
    Rules {
        host_lost_after: Duration::from_secs(30),
        restarts_max: 1,
        restart_pause: Duration::from_secs(1),
        restart_forget_after: Duration::from_secs(3600),
        replacements_max: 1,
        port_retries_max: 1,
        error_retention: Duration::from_secs(100),
    }
}

impl World {
    fn new(policy: RestartPolicy, rule: Rule) -> Self {
        let spec = DeploymentSpec {
            restart_policy: policy,
            time_to_deploy_seconds: 20,
            grace_seconds: 5,
            max_duration_minutes: 1,
            session: None,
            origin: None,
            ..(*row().spec).clone()
        };
        let row = Deployment::new(row().id, spec, Vec::new());
        Self {
            rule,
            row,
            now: Timestamp(0),
            containers: Vec::new(),
            late: None,
            heard: None,
            silent: false,
            webhooks: [0; 3],
            mischief: 0,
        }
    }

    /// What tells two worlds apart: times only as distances from now, history not at all.
    fn key(&self) -> String {
        let far = |t: Option<Timestamp>| t.map(|t| (t.micros() - self.now.micros()).max(-1));
        let State { desired, phase, attempt, host, restarts, recent_restarts, replacements, .. } =
            &self.row.state;
        let state = &self.row.state;
        let times = [
            far(state.deadline),
            far(state.not_before),
            far(expires_at(&self.row)),
            far(state.unreachable_since.map(|t| t.plus(rules().host_lost_after))),
            far(matches!(phase, Phase::Failed(_)).then(|| state.phase_since.plus(rules().error_retention))),
        ];
        format!(
            "{desired:?} {phase:?} {attempt} {} {restarts} {recent_restarts} {replacements} {:?} {times:?} {:?} {:?} {:?} {} {:?} {}",
            host.is_some(),
            state.exit,
            self.containers,
            self.late,
            self.heard,
            self.silent,
            self.webhooks,
            self.mischief
        )
    }

    fn truth(&self) -> Observation {
        if self.silent {
            return Observation::Unreachable;
        }
        match self.containers.iter().find(|(attempt, _)| *attempt == self.row.state.attempt) {
            None => Observation::Absent,
            Some((_, Container::Running)) => Observation::Running { listening: true },
            Some((_, Container::Exited(code))) => {
                Observation::Exited(Exit { code: *code, oom: false, disk: false })
            }
        }
    }

    fn save(&mut self, decision: &Decision) {
        for event in &decision.webhooks {
            self.webhooks[match event {
                WebhookEvent::Ready => 0,
                WebhookEvent::Error => 1,
                WebhookEvent::Terminated => 2,
                WebhookEvent::Telemetry | WebhookEvent::Linked | WebhookEvent::Unprocessable => {
                    panic!("no change of a deployment announces that")
                }
            }] += 1;
        }
        if let Some(next) = &decision.next {
            assert_eq!(next.generation, self.row.generation + 1, "each change counts the generation once");
            assert!(next.state.attempt >= self.row.state.attempt);
            assert!(!matches!(self.row.state.phase, Phase::Terminated(_)), "a terminated row has changed");
            self.row = next.clone();
        }
    }

    /// One turn of the reconciler in which nothing goes wrong.
    fn turn(&self) -> Self {
        let mut w = self.clone();
        let seen = w.heard.take().unwrap_or_else(|| {
            if w.row.state.phase.may_have_workload() { w.truth() } else { Observation::Nothing }
        });
        let decision = (w.rule)(&w.row, &seen, w.now, &rules());
        w.save(&decision);
        w.act(decision.action);
        w
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Place => {
                let next = place_on(&self.row, HostId::from("h"), Vec::new(), self.now);
                self.save(&Decision::change(next, Action::Again));
            }
            Action::Start if !self.silent => self.start(self.row.state.attempt),
            Action::Stop(_) if !self.silent => self.exit(0),
            Action::Remove if !self.silent => self.containers.retain(|(a, _)| *a != self.row.state.attempt),
            Action::Rest | Action::Again | Action::Observe | Action::Poll => {}
            Action::Start | Action::Stop(_) | Action::Remove => {}
        }
    }

    fn start(&mut self, attempt: u32) {
        if !self.containers.iter().any(|(a, _)| *a == attempt) {
            self.containers.push((attempt, Container::Running));
        }
    }

    fn exit(&mut self, code: i32) {
        for (attempt, container) in &mut self.containers {
            if *attempt == self.row.state.attempt {
                *container = Container::Exited(code);
            }
        }
    }

    /// Time passes to the next moment at which something is due.
    fn tick(&self) -> Option<Self> {
        let state = &self.row.state;
        let lost = state.unreachable_since.map(|t| t.plus(rules().host_lost_after));
        let retired =
            matches!(state.phase, Phase::Failed(_)).then(|| state.phase_since.plus(rules().error_retention));
        let moments = [state.deadline, state.not_before, expires_at(&self.row), lost, retired];
        let next = moments.into_iter().flatten().filter(|t| *t > self.now).min()?;
        Some(Self { now: next, ..self.clone() })
    }

    fn neighbours(&self) -> Vec<(&'static str, Self)> {
        let mut all = vec![("turn", self.turn())];
        all.extend(self.tick().map(|w| ("tick", w)));
        all.extend(
            request_stop(&self.row, StopCause::User).map(|row| ("stop", Self { row, ..self.clone() })),
        );
        all.extend(self.sweep().map(|w| ("sweep", w)));
        if self.silent {
            all.push(("host back", Self { silent: false, ..self.clone() }));
        }
        if let Some(attempt) = self.late {
            let mut w = Self { late: None, ..self.clone() };
            w.start(attempt);
            all.push(("late effect", w));
        }
        if self.mischief < MISCHIEF_MAX {
            all.extend(self.faults().into_iter().map(|(name, mut w)| {
                w.mischief += 1;
                (name, w)
            }));
        }
        all
    }

    fn faults(&self) -> Vec<(&'static str, Self)> {
        let mut all = Vec::new();
        let runs =
            self.containers.iter().any(|(a, c)| *a == self.row.state.attempt && *c == Container::Running);
        if runs {
            for code in [0, 1] {
                let mut w = self.clone();
                w.exit(code);
                all.push(("process ends", w));
            }
            all.push(("removed by hand", Self { containers: Vec::new(), ..self.clone() }));
        }
        if !self.silent {
            all.push(("host silent", Self { silent: true, ..self.clone() }));
        }
        let seen = self.heard.clone().unwrap_or_else(|| self.truth());
        let decision = (self.rule)(&self.row, &seen, self.now, &rules());
        let mut saved = Self { heard: None, ..self.clone() };
        saved.save(&decision);
        // Dies after saving, before acting. (Dying before saving is no change but forgetting what was heard.)
        all.push(("crash before the act", saved.clone()));
        all.push(("crash before the save", Self { heard: None, ..self.clone() }));
        if decision.action == Action::Start && !self.silent {
            for retry in [Retry::Never, Retry::Elsewhere, Retry::OtherPorts] {
                let failure = Failure::new(FailureKind::StartFailed, "no");
                let w = Self { heard: Some(Observation::StartFailed(failure, retry)), ..saved.clone() };
                all.push(("start fails", w));
            }
            all.push(("start times out", Self { late: Some(saved.row.state.attempt), ..saved }));
        }
        all
    }

    /// The sweeper removes containers that no row can mean.
    fn sweep(&self) -> Option<Self> {
        let stray = |a: u32| a != self.row.state.attempt || !self.row.state.phase.may_have_workload();
        let mut w = self.clone();
        w.containers.retain(|(a, _)| !stray(*a));
        (w.containers.len() < self.containers.len() && !self.silent).then_some(w)
    }

    fn check(&self, late_happened: bool) -> Result<(), String> {
        for (count, name) in self.webhooks.iter().zip(["ready", "error", "terminated"]) {
            if *count > 1 {
                return Err(format!("{name} was announced {count} times"));
            }
        }
        if late_happened {
            return Ok(());
        }
        if self.containers.len() > 1 {
            return Err("two containers".into());
        }
        if !self.containers.is_empty() && !self.row.state.phase.may_have_workload() {
            return Err("a container is left over".into());
        }
        Ok(())
    }

    /// From here on nothing goes wrong: does it come to rest, and clean?
    fn settles(&self) -> Result<(), String> {
        let mut w = Self { silent: false, ..self.clone() };
        if let Some(attempt) = w.late.take() {
            w.start(attempt);
        }
        for _ in 0..60 {
            w = w.sweep().unwrap_or(w).turn();
            let resting = match (&w.row.state.phase, w.row.state.desired) {
                (Phase::Ready, Desired::Run) => true,
                (Phase::Failed(_), Desired::Run) => w.containers.is_empty(),
                (Phase::Terminated(_), _) => w.containers.is_empty() && w.webhooks[2] == 1,
                _ => false,
            };
            if resting {
                return Ok(());
            }
            let before_ready_or_pause = w.row.state.not_before.is_some_and(|t| t > w.now);
            if before_ready_or_pause || matches!(w.row.state.phase, Phase::Stopping(_)) {
                w = w.tick().unwrap_or(w);
            }
        }
        Err("does not come to rest".into())
    }
}

/// Visits everything that can be reached from a new deployment; returns the number of states, or the way to a bad one.
fn explore(policy: RestartPolicy, rule: Rule) -> Result<usize, String> {
    let start = World::new(policy, rule);
    let mut came_from: HashMap<String, (String, &'static str)> = HashMap::new();
    let mut queue = VecDeque::from([(start.clone(), false)]);
    came_from.insert(format!("{} false", start.key()), (String::new(), "start"));
    while let Some((world, late)) = queue.pop_front() {
        let key = format!("{} {late}", world.key());
        if let Err(problem) = world.check(late).and_then(|()| world.settles()) {
            return Err(format!("{problem}\n{}", way_to(&key, &came_from)));
        }
        for (name, next) in world.neighbours() {
            let late_now = late || name == "late effect";
            let next_key = format!("{} {late_now}", next.key());
            if let Entry::Vacant(new) = came_from.entry(next_key) {
                new.insert((key.clone(), name));
                queue.push_back((next, late_now));
            }
        }
    }
    Ok(came_from.len())
}

fn way_to(end: &str, came_from: &HashMap<String, (String, &'static str)>) -> String {
    let mut steps = Vec::new();
    let mut key = end.to_owned();
    while let Some((before, name)) = came_from.get(&key) {
        steps.push(format!("{name:22} {key}"));
        key.clone_from(before);
    }
    steps.reverse();
    steps.join("\n")
}

#[test]
fn no_order_of_events_leaks_doubles_or_strands_a_deployment() {
    for policy in [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never] {
        match explore(policy, decide) {
            Ok(states) => {
                println!("{policy:?}: {states} states");
                assert!(states > 1_000, "the explorer sees too little: {states}");
            }
            Err(problem) => panic!("{policy:?}: {problem}"),
        }
    }
}

/// Broken rules, each with what the explorer must say of it. They keep it honest: it bites.
#[test]
fn the_explorer_bites_when_a_rule_is_broken() {
    let cases: [(&str, Rule, &str); 4] = [
        (
            "a silent host is taken for an empty one",
            |row, seen, now, rules| {
                let stopping = matches!(row.state.phase, Phase::Stopping(_));
                let blind = stopping && *seen == Observation::Unreachable;
                decide(row, if blind { &Observation::Absent } else { seen }, now, rules)
            },
            "a container is left over",
        ),
        (
            "a stop during a start skips Stopping",
            |row, seen, now, rules| match (row.state.desired, &row.state.phase) {
                (Desired::Stop(cause), Phase::Starting) => {
                    let next = enter(row, row.clone(), Phase::Terminated(cause), now);
                    Decision::change(next, Action::Rest).announcing(WebhookEvent::Terminated)
                }
                _ => decide(row, seen, now, rules),
            },
            "a container is left over",
        ),
        (
            "every READY is announced, restarts too",
            |row, seen, now, rules| {
                let mut decision = decide(row, seen, now, rules);
                if decision
                    .next
                    .as_ref()
                    .is_some_and(|n| n.state.phase == Phase::Ready && row.state.phase != Phase::Ready)
                {
                    decision.webhooks = vec![WebhookEvent::Ready];
                }
                decision
            },
            "ready was announced 2 times",
        ),
        (
            "a stop that was asked for is forgotten once ready",
            |row, seen, now, rules| {
                let mut deaf = row.clone();
                if row.state.phase == Phase::Ready {
                    deaf.state.desired = Desired::Run;
                }
                decide(&deaf, seen, now, rules)
            },
            "does not come to rest",
        ),
    ];
    for (name, broken, complaint) in cases {
        let problem = explore(RestartPolicy::Always, broken).expect_err(name);
        assert!(problem.starts_with(complaint), "{name}: {}", problem.lines().next().unwrap_or(""));
    }
}
