//! The lifecycle's rules, one sentence each.

use super::*;
use crate::deployment::DeploymentSpec;
use crate::ids::{DeploymentId, RevisionId};
use crate::names::{AppName, VersionName};
use crate::units::Resources;
use crate::webhook::Webhooks;

pub(super) fn row() -> Deployment {
    let spec = DeploymentSpec {
        app: AppName::parse("arena").unwrap(),
        version: VersionName::parse("v1").unwrap(),
        revision: RevisionId::from("r1"),
        created_at: Timestamp(0),
        user_count: 1,
        players: Vec::new(),
        centroid: None,
        filters: Vec::new(),
        preferred_hosts: Vec::new(),
        require_cached: false,
        env: Vec::new(),
        command: None,
        arguments: None,
        webhooks: Webhooks::default(),
        log_storage: None,
        pull_profiles: Vec::new(),
        resources: Resources::default(),
        restart_policy: RestartPolicy::Always,
        grace_seconds: 5,
        time_to_deploy_seconds: 120,
        max_duration_minutes: 60,
        session: None,
        origin: None,
    };
    Deployment::new(DeploymentId::from_random(1), spec, Vec::new())
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

fn step(row: &Deployment, seen: Observation, now: Timestamp) -> (Deployment, Decision) {
    let decision = decide(row, &seen, now, &Rules::default());
    (decision.next.clone().unwrap_or_else(|| row.clone()), decision)
}

fn starting_row() -> Deployment {
    let placed = place_on(&row(), HostId::from("h"), Vec::new(), at(0));
    step(&placed, Observation::Nothing, at(0)).0
}

fn ready_row() -> Deployment {
    step(&starting_row(), Observation::Running { listening: true }, at(1)).0
}

#[test]
fn a_deployment_walks_from_placed_to_ready_and_announces_it_once() {
    let placed = place_on(&row(), HostId::from("h"), Vec::new(), at(0));
    assert_eq!(placed.status(), Status::Seeked);
    let (starting, decision) = step(&placed, Observation::Nothing, at(0));
    assert_eq!((starting.status(), decision.action), (Status::Deploying, Action::Start));
    let (ready, decision) = step(&starting, Observation::Running { listening: true }, at(1));
    assert_eq!((ready.status(), ready.state.last_status), (Status::Ready, Some(Status::Deploying)));
    assert_eq!(decision.webhooks, [WebhookEvent::Ready]);
    assert_eq!(ready.state.ready_at, Some(at(1)));
}

#[test]
fn ready_waits_for_the_checked_ports() {
    let (still, decision) = step(&starting_row(), Observation::Running { listening: false }, at(1));
    assert_eq!((still.status(), decision.action), (Status::Deploying, Action::Poll));
}

#[test]
fn a_stop_before_ready_is_carried_out_when_ready_is_reached() {
    let asked = request_stop(&starting_row(), StopCause::User).unwrap();
    assert_eq!(step(&asked, Observation::Absent, at(1)).1.action, Action::Start);
    let (ready, decision) = step(&asked, Observation::Running { listening: true }, at(2));
    assert_eq!(decision.webhooks, [WebhookEvent::Ready]);
    let (stopping, decision) = step(&ready, Observation::Nothing, at(2));
    assert_eq!(
        (stopping.status(), decision.action),
        (Status::Terminating, Action::Stop(Duration::from_secs(5)))
    );
}

#[test]
fn a_stop_is_seen_at_once_where_it_can_be_carried_out_at_once() {
    let decide_stop =
        |row: &Deployment| stop(row, StopCause::User, at(2), &Rules::default()).unwrap().next.unwrap();
    let ready = ready_row();
    let stopped = decide_stop(&ready);
    assert_eq!((stopped.status(), stopped.generation), (Status::Terminating, ready.generation + 1));
    let early = decide_stop(&starting_row());
    assert_eq!((early.status(), early.state.desired), (Status::Deploying, Desired::Stop(StopCause::User)));
    let failed = refuse(&row(), Failure::new(FailureKind::NoCapacity, "full"), at(0)).next.unwrap();
    assert_eq!(decide_stop(&failed).status(), Status::Terminated);
}

#[test]
fn a_stopped_deployment_is_terminated_only_when_its_host_says_that_nothing_is_left() {
    let asked = request_stop(&ready_row(), StopCause::User).unwrap();
    let (stopping, _) = step(&asked, Observation::Nothing, at(10));
    assert_eq!(step(&stopping, Observation::Unreachable, at(99)).1.action, Action::Poll);
    assert_eq!(step(&stopping, Observation::Running { listening: true }, at(15)).1.action, Action::Remove);
    let (noted, decision) =
        step(&stopping, Observation::Exited(Exit { code: 0, oom: false, disk: false }), at(11));
    assert_eq!((noted.state.exit.map(|e| e.code), decision.action), (Some(0), Action::Remove));
    let (ended, decision) = step(&noted, Observation::Absent, at(12));
    assert_eq!(ended.state.phase, Phase::Terminated(StopCause::User));
    assert!(decision.release);
    assert_eq!(decision.webhooks, [WebhookEvent::Terminated]);
    assert_eq!(request_stop(&ended, StopCause::User), None);
}

#[test]
fn a_process_that_ends_is_restarted_as_its_policy_says() {
    let exit = |code| Observation::Exited(Exit { code, oom: false, disk: false });
    let with = |policy| {
        let mut row = ready_row();
        std::sync::Arc::make_mut(&mut row.spec).restart_policy = policy;
        row
    };
    for (policy, code, after) in [
        (RestartPolicy::Always, 0, After::Restart),
        (RestartPolicy::OnFailure, 1, After::Restart),
        (RestartPolicy::OnFailure, 0, After::Terminate(StopCause::Exited)),
        (RestartPolicy::Never, 1, After::Terminate(StopCause::Exited)),
    ] {
        let (row, _) = step(&with(policy), exit(code), at(5));
        assert_eq!(row.state.phase, Phase::Stopping(after), "{policy:?} {code}");
    }
}

#[test]
fn a_restart_stays_ready_for_users_and_takes_a_new_attempt_after_a_pause() {
    let (stopping, _) =
        step(&ready_row(), Observation::Exited(Exit { code: 1, oom: false, disk: false }), at(5));
    assert_eq!(stopping.status(), Status::Ready);
    let (starting, decision) = step(&stopping, Observation::Absent, at(5));
    assert_eq!((starting.status(), starting.state.attempt, decision.release), (Status::Ready, 2, false));
    assert_eq!(step(&starting, Observation::Nothing, at(5)).1.action, Action::Rest);
    let (again, decision) = step(&starting, Observation::Running { listening: true }, at(7));
    assert_eq!((again.state.phase, decision.webhooks.len()), (Phase::Ready, 0));
    assert_eq!(again.state.ready_at, Some(at(1)), "elapsed time goes on");
}

#[test]
fn who_wrote_more_than_its_host_allows_is_in_error_and_told_so_whatever_its_restart_policy() {
    let exit = Observation::Exited(Exit { code: 137, oom: false, disk: true });
    for policy in [RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never] {
        let mut row = ready_row();
        std::sync::Arc::make_mut(&mut row.spec).restart_policy = policy;
        let (row, decision) = step(&row, exit.clone(), at(10));
        let Phase::Stopping(After::Fail(failure)) = &row.state.phase else { panic!("{:?}", row.state.phase) };
        assert_eq!(failure.kind, FailureKind::DiskFull);
        assert!(failure.detail.contains("file system"), "{}", failure.detail);
        assert_eq!(decision.webhooks, [WebhookEvent::Error]);
    }
}

#[test]
fn a_crash_loop_ends_in_error_after_its_budget() {
    let mut row = ready_row();
    for round in 0..Rules::default().restarts_max {
        row = step(&row, Observation::Exited(Exit { code: 1, oom: false, disk: false }), at(10)).0;
        assert_eq!(row.state.phase, Phase::Stopping(After::Restart), "round {round}");
        row = step(&row, Observation::Absent, at(10)).0;
        row = step(&row, Observation::Running { listening: true }, at(100)).0;
    }
    let (row, decision) =
        step(&row, Observation::Exited(Exit { code: 137, oom: true, disk: false }), at(110));
    assert_eq!(row.failure().map(|f| f.kind), Some(FailureKind::CrashLoop));
    assert!(row.failure().unwrap().detail.contains("OOM killed"));
    assert_eq!(decision.webhooks, [WebhookEvent::Error]);
}

#[test]
fn a_failed_start_is_tried_once_on_another_host() {
    let failure = Failure::new(FailureKind::StartFailed, "no");
    let (replacing, decision) =
        step(&starting_row(), Observation::StartFailed(failure.clone(), Retry::Elsewhere), at(1));
    assert_eq!((replacing.status(), decision.action), (Status::Deploying, Action::Remove));
    let (pending, decision) = step(&replacing, Observation::Absent, at(2));
    assert_eq!((pending.state.phase.clone(), decision.release), (Phase::Pending, true));
    assert_eq!(pending.state.avoid_hosts, [HostId::from("h")]);
    let second =
        step(&place_on(&pending, HostId::from("i"), Vec::new(), at(2)), Observation::Nothing, at(2)).0;
    assert_eq!(second.state.attempt, 2);
    let (failing, _) = step(&second, Observation::StartFailed(failure, Retry::Elsewhere), at(3));
    assert_eq!(failing.status(), Status::Error);
}

#[test]
fn a_silent_host_is_lost_after_a_while_and_its_ports_stay_held() {
    let (silent, _) = step(&ready_row(), Observation::Unreachable, at(10));
    assert_eq!(silent.status(), Status::Ready);
    assert_eq!(step(&silent, Observation::Unreachable, at(200)).0.status(), Status::Ready);
    let (back, _) = step(&silent, Observation::Running { listening: true }, at(200));
    assert_eq!(back.state.unreachable_since, None);
    let (lost, decision) = step(&silent, Observation::Unreachable, at(310));
    assert_eq!(lost.failure().map(|f| f.kind), Some(FailureKind::HostLost));
    assert!(!decision.release);
    assert!(lost.state.phase.holds_host());
}

#[test]
fn max_duration_is_counted_from_ready() {
    assert_eq!(due_at(&ready_row(), &Rules::default()), Some(at(1 + 3600)));
    let (expired, _) = step(&ready_row(), Observation::Running { listening: true }, at(3601));
    assert_eq!(expired.state.phase, Phase::Stopping(After::Terminate(StopCause::Expired)));
    let mut forever = ready_row();
    std::sync::Arc::make_mut(&mut forever.spec).max_duration_minutes = -1;
    assert_eq!(due_at(&forever, &Rules::default()), None);
}

#[test]
fn a_row_from_a_backup_adopts_the_attempt_that_runs() {
    let adopted = adopt(&ready_row(), 3, at(50)).unwrap();
    assert_eq!((adopted.state.attempt, adopted.state.phase.clone()), (3, Phase::Ready));
    assert_eq!(adopt(&adopted, 2, at(50)), None);
}

#[test]
fn a_refused_deployment_is_in_error_and_retired_later() {
    let decision = refuse(&row(), Failure::new(FailureKind::NoCapacity, "full"), at(0));
    let failed = decision.next.unwrap();
    assert_eq!((failed.status(), decision.webhooks.as_slice()), (Status::Error, &[WebhookEvent::Error][..]));
    assert_eq!(step(&failed, Observation::Nothing, at(60)).1.action, Action::Rest);
    let (retired, decision) = step(&failed, Observation::Nothing, at(24 * 3600));
    assert_eq!(retired.state.phase, Phase::Terminated(StopCause::Retired));
    assert_eq!(decision.webhooks, [WebhookEvent::Terminated]);
}

/// A ready deployment with seats that may be empty for five minutes, made by a fleet.
fn ready_seats() -> Deployment {
    let mut seats = row();
    let spec = std::sync::Arc::make_mut(&mut seats.spec);
    spec.session = Some(crate::app::SessionConfig {
        kind: crate::app::SessionKind::Seat,
        sockets: 5,
        autodeploy: false,
        empty_ttl_minutes: Some(5),
        session_max_duration_minutes: 60,
    });
    spec.origin = Some(crate::deployment::Origin {
        fleet: crate::names::FleetName::parse("all").unwrap(),
        policy: "p".into(),
    });
    seats.state.phase = Phase::Ready;
    seats.state.host = Some("h".into());
    seats.state.ready_at = Some(at(0));
    seats.state.up_since = Some(at(0));
    seats.state.empty_since = Some(at(0));
    seats
}

#[test]
fn a_deployment_that_has_run_empty_ends_and_one_with_a_session_does_not() {
    let rules = Rules::default();
    let mut seats = ready_seats();
    seats.state.proven = true;
    assert_eq!(due_at(&seats, &rules), Some(at(300)));
    let early = decide(&seats, &Observation::Nothing, at(299), &rules);
    assert_eq!(early.next, None);
    let late = decide(&seats, &Observation::Nothing, at(300), &rules).next.unwrap();
    assert_eq!(late.state.phase, Phase::Stopping(After::Terminate(StopCause::Empty)));
    seats.state.empty_since = None;
    assert_eq!(decide(&seats, &Observation::Nothing, at(301), &rules).next, None);
    // It is not empty before it is ready.
    seats.state.empty_since = Some(at(0));
    seats.state.ready_at = Some(at(100));
    assert_eq!(empty_ends_at(&seats), Some(at(400)));
}

#[test]
fn a_fleets_deployment_is_proven_by_time_and_by_what_others_do_to_it() {
    let rules = Rules::default();
    let seats = ready_seats();
    assert_eq!(due_at(&seats, &rules), Some(at(30)), "no port is looked at");
    let running = Observation::Running { listening: true };
    let before = decide(&seats, &running, at(29), &rules);
    assert_eq!(before.next, None);
    assert!(decide(&seats, &running, at(30), &rules).next.unwrap().state.proven);
    let after = |seen: &Observation| decide(&seats, seen, at(1), &rules).next.unwrap().state.proven;
    assert!(after(&Observation::Absent), "somebody has taken its container away");
    let mut once = seats.clone();
    std::sync::Arc::make_mut(&mut once.spec).restart_policy = RestartPolicy::Never;
    let exits = |code| {
        let seen = Observation::Exited(Exit { code, oom: false, disk: false });
        decide(&once, &seen, at(1), &rules).next.unwrap().state.proven
    };
    assert!(exits(137), "it was killed");
    assert!(!exits(1) && !exits(0), "it ended by itself");
    let stopped = stop(&seats, StopCause::User, at(1), &rules).unwrap().next.unwrap();
    assert!(stopped.state.proven);
}
