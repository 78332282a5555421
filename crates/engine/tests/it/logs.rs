//! Logs are kept before a container is removed, whatever ends it, and keep nobody from being stopped.

use std::time::Duration;

use futures_util::StreamExt as _;
use spawnpoint_driver::DriverError;
use spawnpoint_driver::fake::Op;
use spawnpoint_engine::follow::Followed;
use spawnpoint_engine::log_text::Log;
use spawnpoint_model::deployment::{Exit, FailureKind, Phase, Status, StopCause};
use spawnpoint_model::{DeploymentId, RestartPolicy};
use spawnpoint_store::KeptLog;
use tokio::time::Instant;

use crate::world::{World, on_both};

impl World {
    async fn kept(&self, id: DeploymentId) -> Vec<KeptLog> {
        self.store.kept_logs(id).await.unwrap()
    }

    async fn kinds(&self, id: DeploymentId) -> Vec<String> {
        let record = self.engine.flight_record(&self.admin, id).await.unwrap();
        record.events.into_iter().map(|event| event.kind).collect()
    }

    async fn restarting(&self, name: &str, image: &str, policy: RestartPolicy) {
        self.create_version("arena", name, image, |input| input.restart_policy = Some(policy)).await;
    }

    /// Ends the process of the present attempt, and lets the next one begin.
    async fn crash(&self, id: DeploymentId, exit: Exit) {
        let before = self.view(id).await.deployment.workload();
        self.hosts.iter().for_each(|host| host.kill(before, exit));
        self.eventually("another attempt runs", async || {
            self.clock.advance(Duration::from_secs(1));
            let row = self.view(id).await.deployment;
            row.workload() != before && row.state.phase == Phase::Ready
        })
        .await;
    }
}

fn text(log: &KeptLog) -> String {
    Log::unpack(&log.pieces).unwrap().text()
}

fn exit(code: i32) -> Exit {
    Exit { code, oom: false, disk: false }
}

on_both! {
    async fn what_a_deployment_wrote_is_kept_with_how_it_ended(world: &mut World) {
        world.create_version("arena", "leaving", "fake/game:log-3.term-exit-7", |_| {}).await;
        let id = world.deploy_ready("leaving").await;
        assert_eq!(world.kept(id).await, []);
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let kept = world.kept(id).await;
        assert_eq!((kept.len(), kept[0].attempt, kept[0].exit, kept[0].crashed), (1, 1, Some(exit(7)), false));
        assert_eq!(text(&kept[0]).lines().count(), 4);
        let logs = world.engine.container_logs(&world.admin, id).await.unwrap();
        assert!(logs.crash.is_none() && logs.log.text().ends_with("line 3\nfake: exited with 7\n"));
        assert!(!world.kinds(id).await.contains(&"logs_not_kept".to_owned()));
    }

    async fn a_crash_loop_ends_in_error_with_the_last_two_logs(world: &mut World) {
        world.restarting("loop", "fake/game:exit-3-after-150ms", RestartPolicy::OnFailure).await;
        let id = world.deploy_ready("loop").await;
        world.eventually("it fails", async || {
            world.clock.advance(Duration::from_secs(1));
            matches!(world.view(id).await.deployment.state.phase, Phase::Failed(_))
        })
        .await;
        let row = world.view(id).await.deployment;
        assert_eq!(row.failure().map(|failure| failure.kind), Some(FailureKind::CrashLoop));
        assert_eq!((row.state.restarts, row.state.attempt), (5, 6));
        let kept = world.kept(id).await;
        let told: Vec<_> = kept.iter().map(|log| (log.attempt, log.crashed, log.exit)).collect();
        assert_eq!(told, [(6, true, Some(exit(3))), (5, true, Some(exit(3)))]);
        let logs = world.engine.container_logs(&world.admin, id).await.unwrap();
        let crash = logs.crash.unwrap();
        assert_eq!((crash.restarts, crash.exit), (5, exit(3)));
        assert!(crash.log.text().contains(&format!("{id}-6")), "{:?}", crash.log);
    }

    async fn the_restart_policy_decides_what_becomes_of_an_exit(world: &mut World) {
        for (name, policy, code, runs_again) in [
            ("a0", RestartPolicy::Always, 0, true),
            ("a1", RestartPolicy::Always, 1, true),
            ("f0", RestartPolicy::OnFailure, 0, false),
            ("f1", RestartPolicy::OnFailure, 1, true),
            ("n0", RestartPolicy::Never, 0, false),
            ("n1", RestartPolicy::Never, 1, false),
        ] {
            world.restarting(name, "fake/game:ok", policy).await;
            let id = world.deploy_ready(name).await;
            if runs_again {
                world.crash(id, exit(code)).await;
                assert_eq!(world.view(id).await.deployment.state.restarts, 1, "{name}");
            } else {
                let workload = world.view(id).await.deployment.workload();
                world.hosts.iter().for_each(|host| host.kill(workload, exit(code)));
                let row = world.until(id, Status::Terminated).await.deployment;
                assert_eq!(row.state.phase, Phase::Terminated(StopCause::Exited), "{name}");
            }
            let crash = world.engine.container_logs(&world.admin, id).await.unwrap().crash.unwrap();
            assert_eq!((crash.exit, crash.restarts), (exit(code), u32::from(runs_again)), "{name}");
            assert!(crash.log.text().ends_with(&format!("exited with {code}\n")), "{name}");
        }
    }

    async fn the_end_of_an_earlier_attempt_is_not_told_as_that_of_a_later_one(world: &mut World) {
        world.restarting("stubborn", "fake/game:ignore-term", RestartPolicy::Always).await;
        let id = world.deploy_ready("stubborn").await;
        world.crash(id, exit(9)).await;
        world.stop(id).await.unwrap();
        world.eventually("it is ended by force", async || {
            world.clock.advance(Duration::from_secs(1));
            matches!(world.view(id).await.deployment.state.phase, Phase::Terminated(_))
        })
        .await;
        assert_eq!(world.engine.flight_record(&world.admin, id).await.unwrap().exit, None);
        let kept: Vec<_> = world.kept(id).await.iter().map(|log| (log.attempt, log.exit, log.crashed)).collect();
        assert_eq!(kept, [(2, None, false), (1, Some(exit(9)), true)]);
    }

    async fn a_log_that_cannot_be_read_is_an_event_and_no_obstacle(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.hosts.iter().for_each(|host| host.fail_next(Op::Logs, DriverError::Internal("the log is broken".into())));
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let record = world.engine.flight_record(&world.admin, id).await.unwrap();
        let lost = record.events.iter().find(|event| event.kind == "logs_not_kept").unwrap();
        assert!(lost.detail.contains("the log is broken"), "{lost:?}");
        assert_eq!(world.kept(id).await[0].exit, Some(exit(0)), "how it ended is known all the same");
    }

    async fn a_log_that_takes_for_ever_delays_a_stop_by_seconds_alone(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.hosts.iter().for_each(|host| host.hang_next(Op::Logs));
        let started = Instant::now();
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
        assert!(world.kinds(id).await.contains(&"logs_not_kept".to_owned()));
    }

    async fn what_was_kept_twice_is_there_once_and_nothing_is_lost_by_a_crash(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        // The log is kept, the removal is not: as if the control plane had died in between.
        world.hosts.iter().for_each(|host| host.fail_next(Op::Remove, DriverError::Unavailable("gone".into())));
        world.stop(id).await.unwrap();
        world.eventually("the log is kept", async || !world.kept(id).await.is_empty()).await;
        world.crash_and_restart().await;
        world.until(id, Status::Terminated).await;
        assert_eq!(world.kept(id).await.len(), 1);
    }

    async fn all_logs_together_keep_to_their_bound_and_the_oldest_go_first(world: &mut World) {
        // About three of them.
        world.restart_with(|options| options.log_keep_bytes = 900).await;
        world.create_version("arena", "loud", "fake/game:log-40", |_| {}).await;
        let mut ids = Vec::new();
        for _ in 0..8 {
            let id = world.deploy_ready("loud").await;
            world.stop(id).await.unwrap();
            world.until(id, Status::Terminated).await;
            ids.push(id);
            world.clock.advance(Duration::from_secs(1));
        }
        world.eventually("no more is kept than may be", async || {
            world.store.kept_log_bytes().await.unwrap() <= 900
        })
        .await;
        assert_eq!(world.kept(ids[0]).await, []);
        assert!(!world.kept(ids[7]).await.is_empty());
        let logs = world.engine.container_logs(&world.admin, ids[0]).await.unwrap();
        assert!(logs.log.is_empty(), "the record goes on without the log");
    }

    async fn what_has_ended_is_told_for_seven_days_and_then_forgotten_with_its_log(world: &mut World) {
        world
            .restart_with(|options| {
                options.gc_every = Duration::from_millis(50);
                options.gc_first = options.gc_every;
                options.terminated_retention = Duration::from_secs(7 * 86_400);
            })
            .await;
        let id = world.deploy_ready("v1").await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        world.eventually("the webhooks are sent", async || world.store.count_pending_deliveries().await.unwrap() == 0).await;
        world.clock.advance(Duration::from_secs(7 * 86_400 - 60));
        let other = world.deploy_ready("v1").await;
        world.stop(other).await.unwrap();
        world.until(other, Status::Terminated).await;
        assert!(!world.kept(id).await.is_empty() && !world.kinds(id).await.is_empty());
        world.clock.advance(Duration::from_secs(120));
        world.eventually("it is forgotten", async || world.store.find_deployment(id).await.unwrap().is_none()).await;
        assert_eq!(world.kept(id).await, []);
        assert_eq!(world.store.events(id, 10).await.unwrap(), []);
        assert!(!world.kept(other).await.is_empty());
    }

    async fn nothing_is_kept_where_nothing_is_to_be_kept(world: &mut World) {
        world.restart_with(|options| options.log_keep_bytes = 0).await;
        let id = world.deploy_ready("v1").await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        assert_eq!(world.kept(id).await, []);
        assert_eq!(world.hosts.iter().map(|host| host.calls(Op::Logs)).sum::<u64>(), 0);
    }

    async fn a_silent_host_gives_no_log_and_a_clear_answer(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.hosts.iter().for_each(|host| host.set_unreachable(true));
        let refused = world.engine.container_logs(&world.admin, id).await.unwrap_err();
        assert!(matches!(refused, spawnpoint_engine::Error::Unavailable(_)), "{refused:?}");
        world.hosts.iter().for_each(|host| host.set_unreachable(false));
    }

    async fn a_log_is_read_again_of_a_workload_that_was_made_just_now(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        for host in &world.hosts {
            host.fail_next(Op::Logs, DriverError::Missing);
        }
        let shown = world.engine.container_logs(&world.admin, id).await.unwrap();
        assert!(!shown.log.text().is_empty());
    }

    async fn what_was_kept_is_shown_while_its_host_cannot_remove_the_rest(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let broken = || DriverError::Internal("marked for removal".to_owned());
        for host in &world.hosts {
            host.fail_next(Op::Remove, broken());
        }
        world.stop(id).await.unwrap();
        world.eventually("it is kept", async || !world.kept(id).await.is_empty()).await;
        world.hosts.iter().for_each(|host| host.set_unreachable(true));
        let shown = world.engine.container_logs(&world.admin, id).await.unwrap();
        assert!(!shown.log.text().is_empty());
        world.hosts.iter().for_each(|host| host.set_unreachable(false));
        world.until(id, Status::Terminated).await;
    }

    async fn a_follower_sees_every_attempt_over_silences_of_the_host(world: &mut World) {
        world.restarting("again", "fake/game:log-2", RestartPolicy::Always).await;
        let id = world.deploy_ready("again").await;
        let followed = world.engine.follow_logs(&world.admin, id, None).await.unwrap();
        let reader = tokio::spawn(followed.collect::<Vec<Followed>>());
        world.crash(id, exit(1)).await;
        world.hosts.iter().for_each(|host| host.set_unreachable(true));
        world.hosts.iter().for_each(|host| host.set_unreachable(false));
        world.crash(id, exit(2)).await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let told = tokio::time::timeout(Duration::from_secs(20), reader).await.unwrap().unwrap();
        assert_eq!(told.last(), Some(&Followed::End(Status::Terminated)));
        let restarts: Vec<_> = told.iter().filter(|item| matches!(item, Followed::Restarted(_))).collect();
        assert_eq!(restarts, [&Followed::Restarted(2), &Followed::Restarted(3)]);
        for attempt in 1..=3 {
            let shown = told.iter().any(|item| matches!(item, Followed::Line(line) if line.text.contains(&format!("{id}-{attempt} "))));
            assert!(shown, "attempt {attempt} is missing: {told:?}");
        }
    }
}
