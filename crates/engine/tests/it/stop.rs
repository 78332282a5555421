//! Stop: at every moment, by everybody, and what is left afterwards.

use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::callback::{Purpose, number, token};
use spawnpoint_engine::stop::StopOutcome;
use spawnpoint_model::app::RestartPolicy;
use spawnpoint_model::deployment::{Exit, Phase, Status, StopCause};
use spawnpoint_model::{DeploymentId, TagName};
use spawnpoint_store::Vault;

use crate::world::{World, on_both};

fn vault() -> Vault {
    Vault::from_master_key([7; 32])
}

on_both! {
    async fn a_ready_deployment_is_stopped_announced_once_and_gone(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let outcome = world.stop(id).await.unwrap();
        assert!(matches!(outcome, StopOutcome::Stopping(_)));
        let view = world.until(id, Status::Terminated).await;
        assert_eq!(view.deployment.state.phase, Phase::Terminated(StopCause::User));
        assert!(matches!(world.stop(id).await, Err(Error::Gone(_))));
        world.eventually("both webhooks arrive", async || world.arrived() == ["/ready", "/terminated"]).await;
        assert_eq!(world.workloads(), 0);
    }

    async fn twenty_stops_at_once_end_it_once(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let stops = (0..20).map(|_| world.stop(id));
        for outcome in futures_util::future::join_all(stops).await {
            assert!(matches!(outcome, Ok(StopOutcome::Stopping(_)) | Err(Error::Gone(_))), "{outcome:?}");
        }
        world.until(id, Status::Terminated).await;
        world.eventually("both webhooks arrive", async || world.arrived() == ["/ready", "/terminated"]).await;
    }

    async fn a_stop_before_ready_is_deferred_until_ready(world: &mut World) {
        world.create_version("arena", "slow", "fake/game:listen-delay-300ms", |_| {}).await;
        let id = world.deploy("slow").await;
        assert!(matches!(world.stop(id).await.unwrap(), StopOutcome::Deferred(_)));
        assert!(matches!(world.stop(id).await.unwrap(), StopOutcome::Deferred(_) | StopOutcome::Stopping(_)));
        world.until(id, Status::Terminated).await;
        world.eventually("both webhooks arrive", async || world.arrived() == ["/ready", "/terminated"]).await;
    }

    async fn a_server_that_ignores_sigterm_is_killed_after_its_grace(world: &mut World) {
        world.create_version("arena", "deaf", "fake/game:ignore-term", |input| input.grace_seconds = Some(5)).await;
        let id = world.deploy_ready("deaf").await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminating).await;
        assert_eq!(world.workloads(), 1);
        world.clock.advance(Duration::from_secs(5));
        world.until(id, Status::Terminated).await;
    }

    async fn a_failed_deployment_is_retired_by_a_stop(world: &mut World) {
        world.create_version("arena", "bad", "fake/game:image-missing", |_| {}).await;
        let id = world.deploy("bad").await;
        world.until(id, Status::Error).await;
        assert!(matches!(world.stop(id).await.unwrap(), StopOutcome::Stopping(_)));
        world.until(id, Status::Terminated).await;
        world.eventually("both webhooks arrive", async || world.arrived() == ["/error", "/terminated"]).await;
    }

    async fn a_container_stops_itself_with_its_own_token_only(world: &mut World) {
        let (id, other) = (world.deploy_ready("v1").await, world.deploy_ready("v1").await);
        let key = |id| number(&vault(), Purpose::SelfStop, id).to_string();
        let secret = |purpose, id| token(&vault(), purpose, id);
        let attempts: [(DeploymentId, String, Option<String>); 4] = [
            (id, key(id), None),
            (id, key(id), Some(secret(Purpose::SelfStop, other))),
            (id, key(id), Some(secret(Purpose::Context, id))),
            (id, key(id), Some(secret(Purpose::SelfStop, id)[..31].to_owned())),
        ];
        for (id, key, token) in attempts {
            let outcome = world.engine.self_stop(id, &key, token.as_deref(), None).await;
            assert!(matches!(outcome, Err(Error::Unauthorized)), "{outcome:?}");
        }
        let own = secret(Purpose::SelfStop, id);
        assert!(matches!(world.engine.self_stop(id, "0", Some(&own), None).await, Err(Error::Forbidden(_))));
        assert!(matches!(world.engine.self_stop(id, &key(id), Some(&own), None).await, Ok(StopOutcome::Stopping(_))));
        let view = world.until(id, Status::Terminated).await;
        assert_eq!(view.deployment.state.phase, Phase::Terminated(StopCause::SelfStop));
    }

    async fn a_container_tags_itself(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        let number = number(&vault(), Purpose::Context, id).to_string();
        let token = token(&vault(), Purpose::Context, id);
        let tag = || TagName::parse("in-match").unwrap();
        world.engine.context_add_tag(id, &number, Some(&token), tag()).await.unwrap();
        let twice = world.engine.context_add_tag(id, &number, Some(&token), tag()).await;
        assert!(matches!(twice, Err(Error::Conflict(_))));
        assert_eq!(world.view(id).await.deployment.state.tags[0].name, tag());
        world.engine.context_remove_tag(id, &number, Some(&token), "in-match").await.unwrap();
        assert!(matches!(world.engine.context(id, &number, Some("no")).await, Err(Error::Unauthorized)));
    }

    async fn max_duration_ends_it(world: &mut World) {
        world.create_version("arena", "short", "fake/game:ok", |input| input.max_duration_minutes = Some(1)).await;
        let id = world.deploy_ready("short").await;
        world.clock.advance(Duration::from_secs(61));
        let view = world.until(id, Status::Terminated).await;
        assert_eq!(view.deployment.state.phase, Phase::Terminated(StopCause::Expired));
    }

    async fn a_process_that_ends_is_restarted_in_place_or_ends_its_deployment(world: &mut World) {
        world.create_version("arena", "once", "fake/game:ok", |input| input.restart_policy = Some(RestartPolicy::Never)).await;
        let (always, once) = (world.deploy_ready("v1").await, world.deploy_ready("once").await);
        let before = world.view(always).await.deployment;
        for id in [always, once] {
            let workload = world.view(id).await.deployment.workload();
            world.hosts.iter().for_each(|host| host.kill(workload, Exit { code: 9, oom: false, disk: false }));
        }
        let ended = world.until(once, Status::Terminated).await.deployment;
        assert_eq!((ended.state.phase.clone(), ended.state.exit.map(|e| e.code)), (Phase::Terminated(StopCause::Exited), Some(9)));
        world
            .eventually("it runs again", async || {
                world.clock.advance(Duration::from_millis(200));
                let row = world.view(always).await.deployment;
                assert_eq!(row.status(), Status::Ready);
                row.state.attempt == 2 && row.state.phase == Phase::Ready
            })
            .await;
        let after = world.view(always).await.deployment;
        assert_eq!((after.state.ports.clone(), after.state.restarts), (before.state.ports.clone(), 1));
    }

    async fn released_ports_are_not_given_out_before_their_quarantine_is_over(world: &mut World) {
        let id = world.deploy_ready("v1").await;
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        let leases = world.store.port_leases(None).await.unwrap();
        assert_eq!(leases.len(), 1);
        assert_eq!(leases[0].free_at, Some(spawnpoint_engine::Clock::now(&*world.clock).plus(Duration::from_secs(60))));
    }
}
