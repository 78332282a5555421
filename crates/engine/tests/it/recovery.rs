//! Crashes of the control plane, lost replies, hosts that fall silent.

use std::time::Duration;

use spawnpoint_driver::DriverError;
use spawnpoint_driver::fake::Op;
use spawnpoint_model::deployment::{Exit, FailureKind, Phase, Status};
use spawnpoint_model::port::PortSpec;

use crate::world::{World, on_both};

/// Leaves a workload on a host that no deployment has any more.
async fn start_that_takes_effect_when_given_up(world: &World) {
    for host in &world.hosts {
        host.load_image("fake/game:ok");
        host.delay_next(Op::Ensure, Duration::from_millis(500));
        host.fail_next(Op::Ensure, DriverError::StartFailed("no".into()));
    }
    let id = world.deploy("v1").await;
    world.until(id, Status::Error).await;
    world.eventually("the start takes effect after all", async || world.workloads() == 1).await;
}

on_both! {
    async fn a_restart_of_the_control_plane_touches_nothing_that_runs(world: &mut World) {
        let ids = [world.deploy_ready("v1").await, world.deploy_ready("v1").await];
        let starts = |world: &World| world.hosts.iter().map(|h| h.calls(Op::Ensure) + h.calls(Op::Remove)).sum::<u64>();
        let before = starts(world);
        world.crash_and_restart().await;
        world.eventually("it is at rest", async || world.engine.is_idle()).await;
        assert_eq!(starts(world), before);
        for id in ids {
            assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        }
    }

    async fn what_ended_while_the_control_plane_was_away_is_noticed(world: &mut World) {
        world.create_version("arena", "once", "fake/game:ok", |input| {
            input.restart_policy = Some(spawnpoint_model::RestartPolicy::Never);
        })
        .await;
        let id = world.deploy_ready("once").await;
        world.eventually("the first webhook arrives", async || world.arrived() == ["/ready"]).await;
        world.engine.shut_down(Duration::from_secs(5)).await;
        let workload = world.view(id).await.deployment.workload();
        world.hosts.iter().for_each(|host| host.kill(workload, Exit { code: 4, oom: false, disk: false }));
        world.crash_and_restart().await;
        let view = world.until(id, Status::Terminated).await;
        assert_eq!(view.deployment.state.exit.map(|e| e.code), Some(4));
        world
            .eventually("both webhooks arrive", async || {
                world.clock.advance(Duration::from_millis(200));
                let mut arrived = world.arrived();
                // At least once: the shutdown may have come before it was noted.
                arrived.dedup();
                arrived == ["/ready", "/terminated"]
            })
            .await;
    }

    async fn a_stop_that_was_accepted_is_carried_out_after_a_crash(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.hosts.iter().for_each(|host| host.set_unreachable(true));
        world.stop(id).await.unwrap();
        world.crash_and_restart().await;
        world.hosts.iter().for_each(|host| host.set_unreachable(false));
        world.until(id, Status::Terminated).await;
    }

    async fn a_lost_reply_to_a_start_does_not_make_two(world: &mut World) {
        world.hosts.iter().for_each(|host| host.lose_next_reply(Op::Ensure));
        let id = world.deploy("v1").await;
        world.until(id, Status::Ready).await;
        assert_eq!(world.workloads(), 1);
        assert_eq!(world.view(id).await.deployment.state.attempt, 1);
    }

    async fn a_silent_host_keeps_its_match_until_it_is_lost(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let host = world.view(id).await.deployment.state.host.clone().unwrap();
        let index = ["lyon-1", "montreal-1", "tokyo-1"].iter().position(|h| *h == host.as_str()).unwrap();
        world.hosts[index].set_unreachable(true);
        world
            .eventually("the silence is noticed", async || {
                world.view(id).await.deployment.state.unreachable_since.is_some()
            })
            .await;
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        world.clock.advance(Duration::from_secs(301));
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.failure().unwrap().kind, FailureKind::HostLost);
        assert_eq!(world.workloads(), 1, "nobody can reach it");
        world.hosts[index].set_unreachable(false);
        world.eventually("it is removed", async || world.workloads() == 0).await;
        world.eventually("its row is at rest", async || {
            matches!(world.view(id).await.deployment.state.phase, Phase::Failed(_))
        })
        .await;
    }

    async fn a_host_that_comes_back_in_time_keeps_its_match(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.hosts.iter().for_each(|host| host.set_unreachable(true));
        world.eventually("the silence is noticed", async || world.view(id).await.deployment.state.unreachable_since.is_some()).await;
        world.clock.advance(Duration::from_secs(120));
        world.hosts.iter().for_each(|host| host.set_unreachable(false));
        world.eventually("the silence is over", async || world.view(id).await.deployment.state.unreachable_since.is_none()).await;
        assert_eq!(world.view(id).await.deployment.state.attempt, 1);
    }

    async fn a_container_removed_by_hand_ends_in_error(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let workload = world.view(id).await.deployment.workload();
        world.hosts.iter().for_each(|host| host.forget(workload));
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.failure().unwrap().kind, FailureKind::Vanished);
    }

    async fn ports_come_out_of_quarantine_though_no_task_lives_to_free_them(world: &mut World) {
        // Fifty ports for each: two on each of the three shared hosts, and there are no more.
        world.create_version("arena", "wide", "fake/game:ok", |input| {
            let one = input.ports.take().unwrap().remove(0);
            let numbered = |n: u16| PortSpec { port: 7000 + n, name: Some(format!("port{n}")), ..one.clone() };
            (input.ports, input.cpu, input.memory) = (Some((0..50).map(numbered).collect()), Some(256), Some(256));
        })
        .await;
        let never = |options: &mut spawnpoint_engine::Options| options.gc_first = Duration::from_secs(3600);
        world.restart_with(never).await;
        let fill = async |world: &World| {
            let mut all = Vec::new();
            for _ in 0..6 {
                all.push(world.deploy_ready("wide").await);
            }
            all
        };
        let refused = async |world: &World| {
            let outcome = world.engine.deploy(&world.admin, world.request("wide"), None).await.unwrap();
            outcome.refused.is_some()
        };
        for round in 0..3 {
            let all = fill(world).await;
            for id in &all {
                world.stop(*id).await.unwrap();
                world.until(*id, Status::Terminated).await;
            }
            assert!(refused(world).await, "round {round}: they rest");
            world.clock.advance(Duration::from_secs(59));
            if round > 0 {
                world.restart_with(never).await;
            }
            assert!(refused(world).await, "round {round}: they rest still");
            world.clock.advance(Duration::from_secs(2));
            if round > 1 {
                // It dies again before it has done anything.
                world.restart_with(never).await;
            }
        }
        fill(world).await;
    }

    async fn a_stray_that_is_old_enough_is_swept_by_whoever_has_just_begun(world: &mut World) {
        start_that_takes_effect_when_given_up(world).await;
        // Nobody lives for the two minutes that it is left alone.
        for _ in 0..6 {
            world.clock.advance(Duration::from_secs(30));
            world.crash_and_restart().await;
        }
        world.eventually("it is swept", async || world.workloads() == 0).await;
    }

    async fn a_late_start_of_a_given_up_attempt_is_swept(world: &mut World) {
        start_that_takes_effect_when_given_up(world).await;
        world
            .eventually("it is swept", async || {
                world.clock.advance(Duration::from_secs(10));
                world.workloads() == 0
            })
            .await;
    }
}
