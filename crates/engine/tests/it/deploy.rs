//! Deploy: acceptance, refusal, idempotency, variables, starts that fail.

use std::collections::HashSet;
use std::time::Duration;

use spawnpoint_driver::DriverError;
use spawnpoint_driver::fake::Op;
use spawnpoint_engine::{EnvInput, Error, Idempotency, Player};
use spawnpoint_model::deployment::{Exit, FailureKind, Status};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{HostId, Plaintext, TagName, Transport, VersionName};

use crate::world::{World, app, on_both};

on_both! {
    async fn a_deployment_becomes_ready_and_announces_it(world: &mut World) {
        let id = world.deploy("v1").await;
        let view = world.until(id, Status::Ready).await;
        assert_eq!(view.fqdn(), format!("{id}.games.test"));
        assert_eq!(view.deployment.state.ports[0].internal, 7777);
        assert!((30_000..=30_099).contains(&view.deployment.state.ports[0].external));
        world.eventually("the webhook arrives", async || world.arrived() == ["/ready"]).await;
        let hook = world.receiver.received.lock()[0].clone();
        assert_eq!(hook.body, r#"{"status":"READY"}"#);
        let kinds: Vec<String> = world.engine.events(&world.admin, id).await.unwrap().into_iter().map(|e| e.kind).collect();
        assert_eq!(kinds, ["placed", "starting", "ready"]);
    }

    async fn it_goes_where_its_players_are(world: &mut World) {
        for (point, city) in [((48.85, 2.35), "lyon"), ((40.7, -74.0), "montreal"), ((37.5, 127.0), "tokyo")] {
            let mut request = world.request("v1");
            request.players = vec![Player::At(GeoPoint { latitude: point.0, longitude: point.1 })];
            let outcome = world.engine.deploy(&world.admin, request, None).await.unwrap();
            assert_eq!(outcome.view.place.unwrap().location.city, city);
        }
    }

    async fn unknown_and_inactive_versions_create_nothing(world: &mut World) {
        world.create_version("arena", "off", "fake/game:ok", |input| input.is_active = Some(false)).await;
        let mut unknown_app = world.request("v1");
        unknown_app.app = app("nobody");
        let mut unknown_version = world.request("v1");
        unknown_version.version = Some(VersionName::parse("v9").unwrap());
        for (request, field) in [(unknown_app, "application"), (unknown_version, "version"), (world.request("off"), "version")] {
            match world.engine.deploy(&world.admin, request, None).await {
                Err(Error::Invalid(invalids)) => assert_eq!(invalids.0[0].field, field),
                other => panic!("{other:?}"),
            }
        }
        assert!(world.store.live_deployments().await.unwrap().is_empty());
    }

    async fn without_a_version_the_newest_is_deployed(world: &mut World) {
        world.create_version("arena", "v0-but-later", "fake/game:ok", |_| {}).await;
        let mut request = world.request("v1");
        request.version = None;
        let outcome = world.engine.deploy(&world.admin, request, None).await.unwrap();
        assert_eq!(outcome.view.deployment.spec.version.as_str(), "v0-but-later");
    }

    async fn a_full_fleet_refuses_with_a_deployment_in_error(world: &mut World) {
        for _ in 0..12 {
            world.deploy_ready("v1").await;
        }
        let outcome = world.engine.deploy(&world.admin, world.request("v1"), None).await.unwrap();
        assert!(outcome.refused.is_some());
        let id = outcome.view.deployment.id;
        assert_eq!(world.until(id, Status::Error).await.deployment.failure().unwrap().kind, FailureKind::NoCapacity);
        world.eventually("its webhook arrives", async || world.arrived().contains(&"/error".to_owned())).await;
        let reasons = world.engine.events(&world.admin, id).await.unwrap()[0].detail.clone();
        assert!(reasons.contains("tokyo-1"), "each host has its reason: {reasons}");
    }

    async fn concurrent_deploys_never_overcommit_and_never_share_a_port(world: &mut World) {
        let deploys = (0..40).map(|_| world.engine.deploy(&world.admin, world.request("v1"), None));
        let outcomes = futures_util::future::join_all(deploys).await;
        let accepted: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().ok()).filter(|o| o.refused.is_none()).collect();
        assert_eq!(accepted.len(), 12);
        let ports: HashSet<_> = accepted
            .iter()
            .map(|o| (o.view.place.as_ref().unwrap().host.clone(), o.view.deployment.state.ports[0].external))
            .collect();
        assert_eq!(ports.len(), 12);
    }

    async fn the_same_key_gives_the_same_deployment_and_another_body_a_conflict(world: &mut World) {
        let key = |hash| Some(Idempotency { key: "abc".into(), body_hash: [hash; 32] });
        let deploys = (0..5).map(|_| world.engine.deploy(&world.admin, world.request("v1"), key(1)));
        let ids: HashSet<_> =
            futures_util::future::join_all(deploys).await.into_iter().map(|o| o.unwrap().view.deployment.id).collect();
        assert_eq!(ids.len(), 1);
        let other = world.engine.deploy(&world.admin, world.request("v1"), key(2)).await;
        assert!(matches!(other, Err(Error::Conflict(_))));
        assert_eq!(world.store.live_deployments().await.unwrap().len(), 1);
    }

    async fn a_token_bound_to_another_application_may_not_deploy(world: &mut World) {
        let bound = Actor { scope: Scope::Deploy, apps: vec![app("other")], ..world.admin.clone() };
        assert!(matches!(world.engine.deploy(&bound, world.request("v1"), None).await, Err(Error::Forbidden(_))));
        let id = world.deploy("v1").await;
        assert!(matches!(world.engine.get_deployment(&bound, id).await, Err(Error::NotFound(_))));
        assert!(matches!(world.engine.stop(&bound, id, None).await, Err(Error::Forbidden(_))));
    }

    async fn hidden_values_are_nowhere_in_the_rows(world: &mut World) {
        let mut request = world.request("v1");
        request.env = vec![EnvInput { key: "SECRET".into(), value: Some(Plaintext::new("canary-7c1f")), hidden: true }];
        request.tags = vec![TagName::parse("ranked").unwrap()];
        let id = world.engine.deploy(&world.admin, request, None).await.unwrap().view.deployment.id;
        let row = world.store.find_deployment(id).await.unwrap().unwrap();
        let text = format!("{} {row:?}", serde_json::to_string(&*row.spec).unwrap());
        assert!(!text.contains("canary-7c1f") && !text.contains("/ready"), "{text}");
    }

    async fn a_start_that_fails_is_tried_on_another_host_and_then_given_up(world: &mut World) {
        world.create_version("arena", "bad", "fake/game:no-capacity", |_| {}).await;
        let id = world.deploy("bad").await;
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.state.attempt, 2);
        assert_eq!(view.deployment.state.avoid_hosts.len(), 1);
        world.eventually("one error webhook arrives", async || world.arrived() == ["/error"]).await;
    }

    async fn an_image_that_is_not_there_ends_in_error_with_its_reason(world: &mut World) {
        world.create_version("arena", "bad", "fake/game:image-missing", |_| {}).await;
        let id = world.deploy("bad").await;
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.failure().unwrap().kind, FailureKind::ImageUnavailable);
    }

    async fn a_taken_port_is_replaced_by_another(world: &mut World) {
        let busy = DriverError::PortBusy { port: 30_000, transport: Transport::Udp };
        for host in &world.hosts {
            host.fail_next(Op::Ensure, busy.clone());
        }
        let id = world.deploy("v1").await;
        let view = world.until(id, Status::Ready).await;
        assert_eq!(view.deployment.state.attempt, 2);
    }

    async fn a_server_that_never_opens_its_port_fails_at_its_deadline(world: &mut World) {
        world.create_version("arena", "mute", "fake/game:never-listens", |input| input.time_to_deploy_seconds = Some(30)).await;
        let id = world.deploy("mute").await;
        world.until(id, Status::Deploying).await;
        world.clock.advance(Duration::from_secs(31));
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.failure().unwrap().kind, FailureKind::NotReadyInTime);
    }

    async fn a_server_that_exits_before_it_is_ready_is_in_error_with_its_code(world: &mut World) {
        world.create_version("arena", "dies", "fake/game:never-listens.exit-3-after-50ms", |_| {}).await;
        let id = world.deploy("dies").await;
        let view = world.until(id, Status::Error).await;
        assert_eq!(view.deployment.state.exit, Some(Exit { code: 3, oom: false, disk: false }));
    }

    async fn preferred_hosts_are_taken_in_order(world: &mut World) {
        let mut request = world.request("v1");
        request.preferred_hosts = vec![HostId::from("tokyo-1"), HostId::from("lyon-1")];
        for _ in 0..4 {
            let outcome = world.engine.deploy(&world.admin, request.clone(), None).await.unwrap();
            assert_eq!(outcome.view.place.unwrap().host.as_str(), "tokyo-1");
        }
        let fifth = world.engine.deploy(&world.admin, request, None).await.unwrap();
        assert_eq!(fifth.view.place.unwrap().host.as_str(), "lyon-1");
    }
}
