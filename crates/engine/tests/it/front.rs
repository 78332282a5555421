//! TLS in front of ports: when they are opened, where they lead, when they are closed. And names, which come and go with them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use spawnpoint_driver::fake::Op;
use spawnpoint_engine::access_lists::NewEntry;
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_model::deployment::{Exit, FailureKind, Status};
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::{Cidr, Protocol, RestartPolicy};

use crate::world::{World, app, on_both, version};

/// The version `tls`: a WebSocket behind TLS and the UDP port of all versions.
async fn describe(world: &World) {
    world
        .create_version("arena", "tls", "fake/game:ok", |input| {
            input.restart_policy = Some(RestartPolicy::Always);
            input.ports.as_mut().unwrap().push(PortSpec {
                port: 8080,
                protocol: Protocol::Ws,
                to_check: true,
                tls_upgrade: true,
                name: Some("play".into()),
            });
        })
        .await;
}

on_both! {
    async fn a_tls_port_is_open_from_ready_until_the_end_and_the_workload_does_not_publish_it(world: &mut World) {
        describe(world).await;
        let id = world.deploy_ready("tls").await;
        let row = world.view(id).await.deployment.clone();
        let port = |name: &str| row.state.ports.iter().find(|port| port.name == name).unwrap().external;
        let open = world.front.open.lock().clone();
        assert_eq!(open.keys().collect::<Vec<_>>(), [&port("play")]);
        assert_eq!(open[&port("play")], (row.workload(), "127.0.0.1:8080".parse().unwrap()));
        assert!(world.view(id).await.link(&row.state.ports[1]).starts_with("wss://"));
        let published = world.hosts.iter().flat_map(|host| host.published(row.workload())).collect::<Vec<_>>();
        assert_eq!(published.iter().map(|port| port.external).collect::<Vec<_>>(), [port("game")]);
        assert_eq!(world.violations().await, Vec::<String>::new());
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        assert!(world.front.open.lock().is_empty());
    }

    async fn tls_ports_let_in_whom_the_access_list_names(world: &mut World) {
        describe(world).await;
        let closed = VersionInput { access_list_active: Some(true), ..VersionInput::default() };
        let (app, version) = (app("arena"), version("tls"));
        world.engine.update_version(&world.admin, &app, &version, closed).await.unwrap();
        let id = world.deploy_ready("tls").await;
        assert!(!world.front.admits(id, "203.0.113.7"), "nobody is listed");
        let network = Cidr::parse("203.0.113.0/24").unwrap();
        let entry = NewEntry { network, label: String::new(), is_active: true };
        let entry = world.engine.create_access(&world.admin, &app, &version, entry).await.unwrap();
        world.eventually("the listed network is let in", async || world.front.admits(id, "203.0.113.7")).await;
        assert!(!world.front.admits(id, "198.51.100.7"));
        world.crash_and_restart().await;
        world.eventually("it is after a restart", async || world.front.admits(id, "203.0.113.7")).await;
        assert!(!world.front.admits(id, "198.51.100.7"));
        world.engine.delete_access(&world.admin, &app, &version, entry.id).await.unwrap();
        world.eventually("it is no more", async || !world.front.admits(id, "203.0.113.7")).await;
    }

    async fn a_new_attempt_is_led_to_anew(world: &mut World) {
        describe(world).await;
        let id = world.deploy_ready("tls").await;
        let first = world.view(id).await.deployment.workload();
        world.hosts.iter().for_each(|host| host.kill(first, Exit { code: 1, oom: false, disk: false }));
        world.eventually("a second attempt is open", async || {
            world.clock.advance(Duration::from_millis(200));
            let open = world.front.open.lock().clone();
            open.values().any(|(workload, _)| *workload != first && workload.deployment == id)
        })
        .await;
        assert_eq!(world.front.open.lock().len(), 1);
    }

    async fn a_new_control_plane_opens_what_the_one_before_had_open_and_touches_nothing(world: &mut World) {
        describe(world).await;
        let id = world.deploy_ready("tls").await;
        let before = world.front.open.lock().clone();
        let starts = |world: &World| world.hosts.iter().map(|host| host.calls(Op::Ensure)).sum::<u64>();
        let started = starts(world);
        world.crash_and_restart().await;
        // Before the first request is answered, not at some time after.
        assert_eq!(*world.front.open.lock(), before);
        assert_eq!((starts(world), world.view(id).await.deployment.status()), (started, Status::Ready));
    }

    async fn a_name_leads_to_its_host_while_its_deployment_is_ready(world: &mut World) {
        world.create_version("arena", "slow", "fake/game:never-listens", |_| {}).await;
        let starting = world.deploy("slow").await;
        world.until(starting, Status::Deploying).await;
        assert_eq!(world.engine.address_of(starting).await.unwrap(), None);
        let id = world.deploy_ready("v1").await;
        assert_eq!(world.engine.address_of(id).await.unwrap(), Some("203.0.113.1".parse().unwrap()));
        world.stop(id).await.unwrap();
        assert_eq!(world.engine.address_of(id).await.unwrap(), None);
        world.until(id, Status::Terminated).await;
        assert_eq!(world.engine.address_of(id).await.unwrap(), None);
        // It is ended as any start that never gets ready.
        world.eventually("the start is given up", async || {
            world.clock.advance(Duration::from_secs(60));
            world.view(starting).await.deployment.status() == Status::Error
        })
        .await;
        assert_eq!(world.engine.address_of(starting).await.unwrap(), None);
        assert_eq!(world.engine.address_of("0123456789ab".parse().unwrap()).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_port_that_somebody_else_has_is_replaced_and_not_for_ever() {
    let world = World::sqlite().await;
    describe(&world).await;
    world.front.taken.store(2, Ordering::SeqCst);
    let id = world.deploy_ready("tls").await;
    assert_eq!(world.view(id).await.deployment.state.replacements, 2);
    world.front.taken.store(100, Ordering::SeqCst);
    let unlucky = world.deploy("tls").await;
    let view = world.until(unlucky, Status::Error).await;
    let failure = view.deployment.failure().unwrap().clone();
    assert_eq!(failure.kind, FailureKind::PortTaken);
    assert!(failure.detail.contains("is used by somebody else"), "{}", failure.detail);
    world.front.taken.store(0, Ordering::SeqCst);
    Box::pin(world.end()).await;
}

#[tokio::test]
async fn with_several_control_planes_a_port_that_the_other_one_has_is_as_good() {
    let Some(world) = World::postgres().await else { return };
    describe(&world).await;
    world.front.taken.store(1000, Ordering::SeqCst);
    let id = world.deploy_ready("tls").await;
    assert_eq!(world.view(id).await.deployment.state.replacements, 0);
    world.stop(id).await.unwrap();
    world.until(id, Status::Terminated).await;
    world.front.taken.store(0, Ordering::SeqCst);
    Box::pin(world.end()).await;
}

#[tokio::test]
async fn a_port_of_a_deployment_that_another_control_plane_has_ended_is_closed_at_the_next_resync() {
    let Some(world) = World::postgres().await else { return };
    describe(&world).await;
    let id = world.deploy_ready("tls").await;
    let second = world.second().await;
    second.stop(&world.admin, id, None).await.unwrap();
    world
        .eventually("it has ended and its port is closed", async || {
            world.view(id).await.deployment.status() == Status::Terminated
                && world.front.open.lock().is_empty()
        })
        .await;
    second.shut_down(Duration::from_secs(5)).await;
    Box::pin(world.end()).await;
}
