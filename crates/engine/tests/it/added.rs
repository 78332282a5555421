//! Hosts and private fleets that are added while the engine runs: used at once, there after a restart and on other control
//! planes, removed only when nothing is left on them.

use std::time::Duration;

use spawnpoint_driver::fake::Op;
use spawnpoint_engine::access_lists::NewEntry;
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_engine::{Engine, Error};
use spawnpoint_model::added::{AddedBeacon, AddedDriver, AddedFleet, AddedHost};
use spawnpoint_model::deployment::Status;
use spawnpoint_model::port::PortSpec;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::units::Resources;
use spawnpoint_model::{Cidr, CpuUnits, DeploymentId, HostId, MemoryMib, Protocol, TokenId, VersionName};
use spawnpoint_store::dialect::Dialect;

use crate::world::{World, app, on_both};

fn new_host(id: &str, fleet: Option<&str>) -> AddedHost {
    AddedHost {
        id: id.into(),
        site: "lyon".into(),
        public_address: None,
        driver: AddedDriver::Fake,
        endpoint: None,
        capacity: None,
        measured: false,
        port_range: None,
        private_fleet: fleet.map(str::to_owned),
        beacon: None,
        base_clock_mhz: None,
        restricted: false,
    }
}

fn cup() -> AddedFleet {
    AddedFleet { name: "cup".into(), centroid: None }
}

/// The version `all`: with a TLS port, an access list and an image that is brought to the hosts ahead of time.
async fn describe_all(world: &World) {
    let describe = |input: &mut VersionInput| {
        (input.access_list_active, input.force_cache) = (Some(true), Some(true));
        input.ports.as_mut().unwrap().push(PortSpec {
            port: 8080,
            protocol: Protocol::Ws,
            to_check: true,
            tls_upgrade: true,
            name: Some("play".into()),
        });
    };
    world.create_version("arena", "all", "fake/game:ok", describe).await;
    let_in(world, "10.0.0.0/8").await;
}

/// Lets a network in to the version `all`.
async fn let_in(world: &World, network: &str) {
    let network = Cidr::parse(network).unwrap();
    let entry = NewEntry { network, label: String::new(), is_active: true };
    let version = VersionName::parse("all").unwrap();
    world.engine.create_access(&world.admin, &app("arena"), &version, entry).await.unwrap();
}

/// Deploys to the hosts that are named, and waits until it is ready; where it went.
async fn deploy(world: &World, engine: &Engine, hosts: &[&str]) -> (DeploymentId, String) {
    deploy_version("v1", world, engine, hosts).await
}

async fn deploy_version(
    version: &str,
    world: &World,
    engine: &Engine,
    hosts: &[&str],
) -> (DeploymentId, String) {
    let mut request = world.request(version);
    request.preferred_hosts = hosts.iter().map(|host| HostId::from(*host)).collect();
    let outcome = engine.deploy(&world.admin, request, None).await.unwrap();
    let place = outcome.view.place.unwrap_or_else(|| panic!("{:?}", outcome.refused));
    let id = outcome.view.deployment.id;
    // The host may be so new that its first hints are missed: then the timers see to it.
    world
        .eventually("it is ready", async || {
            world.clock.advance(Duration::from_millis(100));
            world.view(id).await.deployment.status() == Status::Ready
        })
        .await;
    (id, place.host.to_string())
}

async fn end(world: &World, id: DeploymentId) {
    world.stop(id).await.unwrap();
    world
        .eventually("it has ended", async || {
            world.clock.advance(Duration::from_millis(100));
            world.view(id).await.deployment.status() == Status::Terminated
        })
        .await;
}

/// The text of a conflict.
fn conflict<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Conflict(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn field<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Invalid(invalids)) => invalids.0[0].field.clone(),
        other => panic!("{other:?}"),
    }
}

on_both! {
    async fn an_added_host_takes_deployments_at_once_and_is_there_after_a_restart(world: &mut World) {
        let fleet = world.engine.add_private_fleet(&world.admin, cup()).await.unwrap();
        assert!(fleet.added && fleet.hosts.is_empty());
        let added = world.engine.add_host(&world.admin, new_host("annex-1", Some("cup"))).await.unwrap();
        assert!(added.added && added.is_active(), "it is ready when the call is answered: {added:?}");
        assert_eq!(added.host.capacity, Resources { cpu: CpuUnits(2048), memory: MemoryMib(2048) });
        let (first, went) = deploy(world, &world.engine, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        world.crash_and_restart().await;
        assert_eq!(world.view(first).await.deployment.status(), Status::Ready, "it plays on");
        let (second, went) = deploy(world, &world.engine, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        let (third, went) = deploy(world, &world.engine, &["annex-1"]).await;
        assert_ne!(went, "annex-1", "it is full, and the restart knows what is held there");
        let fleet = world.engine.get_private_fleet(&world.admin, "cup").await.unwrap();
        assert_eq!((fleet.hosts[0].deployments, fleet.fleet.centroid.desired_host_count), (2, 1));
        assert_eq!(fleet.fleet.centroid.at.latitude, 45.75, "where its first host is");
        assert_eq!(world.hosts[5].workload_count(), 2);
        for id in [first, second, third] {
            end(world, id).await;
        }
        assert_eq!(world.hosts[5].workload_count(), 0);
    }

    async fn a_host_is_removed_only_when_nothing_is_left_on_it(world: &mut World) {
        let id = HostId::from("annex-1");
        world.engine.add_host(&world.admin, new_host("annex-1", None)).await.unwrap();
        let (match_, went) = deploy(world, &world.engine, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        let refused = conflict(world.engine.remove_host(&world.admin, &id).await);
        assert!(refused.contains("1 deployments"), "{refused}");
        assert!(!world.engine.get_host(&world.admin, &id).await.unwrap().standing.cordoned, "it is as it was");
        end(world, match_).await;
        world.engine.remove_host(&world.admin, &id).await.unwrap();
        assert!(matches!(world.engine.get_host(&world.admin, &id).await, Err(Error::NotFound(_))));
        assert!(matches!(world.engine.remove_host(&world.admin, &id).await, Err(Error::NotFound(_))));
        world.crash_and_restart().await;
        assert!(matches!(world.engine.get_host(&world.admin, &id).await, Err(Error::NotFound(_))));
        // The name is free again, and what was said of the former one is not said of this.
        let again = world.engine.add_host(&world.admin, new_host("annex-1", None)).await.unwrap();
        assert!(!again.standing.cordoned);
        let (last, went) = deploy(world, &world.engine, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        end(world, last).await;
    }

    async fn an_added_host_has_everything_that_one_of_the_config_has(world: &mut World) {
        describe_all(world).await;
        let beacon = AddedBeacon { host: Some("203.0.113.9".into()), udp_port: Some(8090), tcp_port: None };
        let beacons = |world: &World| world.engine.list_beacons(&world.admin).unwrap().len();
        let configured = beacons(world);
        let annex = world.hosts[5].clone();
        let new = AddedHost { beacon: Some(beacon), ..new_host("annex-1", None) };
        world.engine.add_host(&world.admin, new).await.unwrap();
        assert_eq!(beacons(world), configured + 1);
        world.eventually("its image is there ahead of time", async || annex.calls(Op::Prepare) > 0).await;
        let (id, went) = deploy_version("all", world, &world.engine, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        let networks = || annex.access_lists().iter().map(|list| list.networks.len()).collect::<Vec<_>>();
        assert_eq!(networks(), [1], "the list is in force from the start");
        let_in(world, "198.51.100.0/24").await;
        world.eventually("the change is in force", async || networks() == [2]).await;
        let led_to = |world: &World| world.front.open.lock().values().map(|(to, _)| to.deployment).collect::<Vec<_>>();
        assert_eq!(led_to(world), [id], "TLS is ended in front of it");
        assert_eq!(world.engine.address_of(id).await.unwrap(), Some("203.0.113.2".parse().unwrap()));
        assert_eq!(world.violations().await, Vec::<String>::new());
        world.crash_and_restart().await;
        assert_eq!(led_to(world), [id], "by the next control plane too, before the first request is answered");
        end(world, id).await;
        assert_eq!((led_to(world), networks()), (vec![], vec![]));
        world.engine.remove_host(&world.admin, &"annex-1".into()).await.unwrap();
        assert_eq!(beacons(world), configured);
    }

    async fn what_the_config_declares_is_neither_added_nor_removed(world: &mut World) {
        let admin = &world.admin;
        let removed = conflict(world.engine.remove_host(admin, &"lyon-1".into()).await);
        assert!(removed.contains("configuration"), "{removed}");
        let removed = conflict(world.engine.remove_private_fleet(admin, "tournament").await);
        assert!(removed.contains("configuration"), "{removed}");
        conflict(world.engine.add_host(admin, new_host("lyon-1", None)).await);
        conflict(world.engine.add_private_fleet(admin, AddedFleet { name: "tournament".into(), centroid: None }).await);
        // A fleet of the config may have added hosts.
        world.engine.add_host(admin, new_host("annex-1", Some("tournament"))).await.unwrap();
        assert_eq!(world.engine.get_private_fleet(admin, "tournament").await.unwrap().hosts.len(), 3);
    }

    async fn what_is_wrong_is_named_and_adds_nothing(world: &mut World) {
        let admin = &world.admin;
        assert_eq!(field(world.engine.add_host(admin, new_host("annex-1", Some("nobody"))).await), "private_fleet");
        assert_eq!(field(world.engine.add_host(admin, new_host("a/b", None)).await), "host_id");
        let nowhere = AddedHost { site: "atlantis".into(), ..new_host("annex-1", None) };
        assert_eq!(field(world.engine.add_host(admin, nowhere).await), "site");
        assert!(world.store.added_hosts().await.unwrap().is_empty());
        world.engine.add_private_fleet(admin, cup()).await.unwrap();
        conflict(world.engine.add_private_fleet(admin, cup()).await);
        world.engine.add_host(admin, new_host("annex-1", Some("cup"))).await.unwrap();
        conflict(world.engine.add_host(admin, new_host("annex-1", None)).await);
        let has_hosts = conflict(world.engine.remove_private_fleet(admin, "cup").await);
        assert!(has_hosts.contains("has hosts"), "{has_hosts}");
        world.engine.remove_host(admin, &"annex-1".into()).await.unwrap();
        world.engine.remove_private_fleet(admin, "cup").await.unwrap();
        assert!(matches!(world.engine.remove_private_fleet(admin, "cup").await, Err(Error::NotFound(_))));
        let bound = Actor { token: TokenId::from("t"), scope: Scope::Admin, apps: vec![app("arena")] };
        assert!(matches!(world.engine.add_private_fleet(&bound, cup()).await, Err(Error::Forbidden(_))));
        assert!(matches!(world.engine.add_host(&bound, new_host("x", None)).await, Err(Error::Forbidden(_))));
        assert!(matches!(world.engine.remove_host(&bound, &"x".into()).await, Err(Error::Forbidden(_))));
    }

    async fn other_control_planes_follow(world: &mut World) {
        if world.store.dialect() == Dialect::Sqlite {
            return;
        }
        let (id, second) = (HostId::from("annex-1"), world.second().await);
        world.engine.add_private_fleet(&world.admin, cup()).await.unwrap();
        world.engine.add_host(&world.admin, new_host("annex-1", Some("cup"))).await.unwrap();
        world
            .eventually("the other has it", async || {
                second.get_host(&world.admin, &id).await.is_ok_and(|host| host.is_active())
            })
            .await;
        assert_eq!(second.get_private_fleet(&world.admin, "cup").await.unwrap().hosts.len(), 1);
        let (match_, went) = deploy(world, &second, &["annex-1"]).await;
        assert_eq!(went, "annex-1");
        conflict(world.engine.remove_host(&world.admin, &id).await);
        end(world, match_).await;
        // Removed by the other, with whatever the first one still believes.
        second.remove_host(&world.admin, &id).await.unwrap();
        let (elsewhere, went) = deploy(world, &world.engine, &["annex-1", "lyon-1"]).await;
        assert_eq!(went, "lyon-1", "the database refuses it at once");
        world
            .eventually("it is gone here", async || world.engine.get_host(&world.admin, &id).await.is_err())
            .await;
        end(world, elsewhere).await;
        second.shut_down(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn a_tls_port_is_closed_with_its_host_whoever_removes_it() {
    let Some(mut world) = World::postgres().await else { return };
    // No resync is in time to see that the deployment has ended.
    world.restart_with(|options| options.resync_every = Duration::from_secs(3600)).await;
    describe_all(&world).await;
    let (id, second) = (HostId::from("annex-1"), world.second().await);
    world.engine.add_host(&world.admin, new_host("annex-1", None)).await.unwrap();
    let known = async || second.get_host(&world.admin, &id).await.is_ok_and(|host| host.is_active());
    world.eventually("the other has it", known).await;
    let (match_, went) = deploy_version("all", &world, &world.engine, &["annex-1"]).await;
    assert_eq!((went.as_str(), world.front.open.lock().len()), ("annex-1", 1));
    let left = world.front.open.lock().clone();
    end(&world, match_).await;
    // As if the other one had ended it, and this one had not looked since.
    *world.front.open.lock() = left;
    second.remove_host(&world.admin, &id).await.unwrap();
    world.eventually("the port is closed", async || world.front.open.lock().is_empty()).await;
    second.shut_down(Duration::from_secs(5)).await;
    Box::pin(world.end()).await;
}
