//! Smart fleets on either database, with a clock that the test moves: the bounds hold whatever happens to deployments.

use std::time::Duration;

use spawnpoint_engine::Error;
use spawnpoint_engine::fleets::{FleetPatch, NewFleet, PolicyPatch};
use spawnpoint_engine::sessions::{SessionRequest, UserInput};
use spawnpoint_engine::versions::SessionInput;
use spawnpoint_model::app::SessionKind;
use spawnpoint_model::deployment::{Exit, Status};
use spawnpoint_model::filter::{FilterType, LocationField, LocationFilter};
use spawnpoint_model::fleet::{PolicyKind, PolicySpec};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::names::{FleetName, PolicyName};
use spawnpoint_model::query::{Condition, ListQuery, Page, TextMatch};
use spawnpoint_model::token::Actor;
use spawnpoint_model::{Deployment, DeploymentId, RestartPolicy, VersionName};

use crate::world::{World, app, on_both};

const ALL: Page = Page { number: 1, limit: 100 };

fn fleet() -> FleetName {
    FleetName::parse("everywhere").unwrap()
}

fn policy_name(name: &str) -> PolicyName {
    PolicyName::parse(name).unwrap()
}

fn policy(minimum: u32, maximum: Option<u32>) -> PolicySpec {
    PolicySpec {
        enabled: true,
        kind: PolicyKind::Location,
        minimum,
        maximum,
        threshold: 0.5,
        filters: Vec::new(),
        points: Vec::new(),
        data: "{}".into(),
    }
}

async fn version(world: &World, name: &str, image: &str, restart: RestartPolicy, ttl: Option<u32>) {
    let session = SessionInput {
        kind: Some(SessionKind::Seat),
        sockets: Some(4),
        empty_ttl_minutes: Some(ttl),
        ..SessionInput::default()
    };
    let change = |input: &mut spawnpoint_engine::versions::VersionInput| {
        input.session = Some(Some(session));
        input.restart_policy = Some(restart);
        (input.cpu, input.memory) = (Some(256), Some(256));
    };
    world.create_version("arena", name, image, change).await;
}

/// A fleet that deploys `seats` with one policy.
async fn set_up(world: &World, spec: PolicySpec) {
    let new = NewFleet { name: fleet(), enabled: true };
    world.engine.create_fleet(&world.admin, new).await.unwrap();
    world.engine.create_policy(&world.admin, &fleet(), policy_name("p"), spec).await.unwrap();
    link(world).await;
}

async fn link(world: &World) {
    let seats = VersionName::parse("seats").unwrap();
    world.engine.link_version(&world.admin, &fleet(), &app("arena"), &seats).await.unwrap();
}

async fn rows(world: &World) -> Vec<Deployment> {
    let conditions = vec![Condition::Fleet(TextMatch::In(vec!["everywhere".into()]))];
    let query = ListQuery { conditions, ..ListQuery::default() };
    let list = world.engine.list_deployments(&world.admin, query, ALL).await.unwrap();
    list.items.into_iter().map(|view| Deployment::clone(&view.deployment)).collect()
}

async fn ready(world: &World) -> Vec<DeploymentId> {
    rows(world).await.iter().filter(|row| row.status() == Status::Ready).map(|row| row.id).collect()
}

async fn settles_at(world: &World, number: usize) {
    world.eventually("the fleet has as many as it wants", async || ready(world).await.len() == number).await;
    // Nothing more comes.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(rows(world).await.iter().filter(|row| row.failure().is_none()).count() <= number.max(1) + 3);
    }
    assert_eq!(ready(world).await.len(), number);
}

/// Nothing of a fleet is left that would start deployments.
async fn tear_down(world: &World) {
    world.engine.delete_fleet(&world.admin, &fleet()).await.unwrap();
}

fn workload(world: &World, row: &Deployment) -> usize {
    let host = row.state.host.as_ref().unwrap().as_str();
    ["lyon-1", "montreal-1", "tokyo-1"]
        .iter()
        .position(|name| *name == host)
        .filter(|n| *n < world.hosts.len())
        .unwrap()
}

async fn join(world: &World, players: usize) -> Option<DeploymentId> {
    let request = SessionRequest {
        app: app("arena"),
        version: Some(VersionName::parse("seats").unwrap()),
        users: vec![UserInput { ip: "192.0.2.1".parse().unwrap(), at: None }; players],
        deployment: None,
        centroid: None,
        filters: Vec::new(),
        selectors: Vec::new(),
        webhook: None,
    };
    world.engine.create_session(&world.admin, request).await.unwrap().deployment
}

on_both! {
    async fn nothing_happens_until_fleet_and_policy_are_enabled_and_a_version_is_linked(world: &mut World) {
        version(world, "seats", "fake/game:ok", RestartPolicy::Always, None).await;
        let off = NewFleet { name: fleet(), enabled: false };
        world.engine.create_fleet(&world.admin, off.clone()).await.unwrap();
        let taken = world.engine.create_fleet(&world.admin, off).await;
        assert!(matches!(taken, Err(Error::Conflict(_))), "{taken:?}");
        let spec = PolicySpec { enabled: false, ..policy(2, None) };
        world.engine.create_policy(&world.admin, &fleet(), policy_name("p"), spec).await.unwrap();
        let plain = world.engine.link_version(&world.admin, &fleet(), &app("arena"), &VersionName::parse("v1").unwrap()).await;
        assert!(matches!(plain, Err(Error::Invalid(_))), "{plain:?}");
        link(world).await;
        link(world).await;
        let on = FleetPatch { enabled: Some(true), ..FleetPatch::default() };
        world.engine.update_fleet(&world.admin, &fleet(), on).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(rows(world).await.len(), 0);
        let on = PolicyPatch { enabled: Some(true), ..PolicyPatch::default() };
        world.engine.update_policy(&world.admin, &fleet(), &policy_name("p"), on).await.unwrap();
        settles_at(world, 2).await;
        let row = &rows(world).await[0];
        assert_eq!((row.spec.user_count, row.spec.origin.as_ref().unwrap().fleet.as_str()), (0, "everywhere"));
        let more = PolicyPatch { minimum: Some(3), ..PolicyPatch::default() };
        world.engine.update_policy(&world.admin, &fleet(), &policy_name("p"), more).await.unwrap();
        settles_at(world, 3).await;
        let stranger = Actor { apps: vec![app("arena")], ..world.admin.clone() };
        let refused = world.engine.delete_fleet(&stranger, &fleet()).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        assert_eq!(world.engine.list_links(&stranger, &fleet(), ALL).await.unwrap().total, 1);
        let stranger = Actor { apps: vec![app("other")], ..stranger };
        assert_eq!(world.engine.list_links(&stranger, &fleet(), ALL).await.unwrap().total, 0);
        tear_down(world).await;
        assert_eq!(ready(world).await.len(), 3, "what runs goes on");
    }

    async fn the_minimum_is_kept_while_deployments_are_killed_and_the_control_plane_crashes(world: &mut World) {
        version(world, "seats", "fake/game:ok", RestartPolicy::Never, None).await;
        set_up(world, policy(3, Some(4))).await;
        settles_at(world, 3).await;
        for round in 0..8 {
            let all = rows(world).await;
            let victim = all.iter().find(|row| row.status() == Status::Ready).unwrap();
            let host = &world.hosts[workload(world, victim)];
            match round % 4 {
                0 => host.kill(victim.workload(), Exit { code: 137, oom: false, disk: false }),
                1 => host.forget(victim.workload()),
                2 => drop(world.stop(victim.id).await),
                _ => world.crash_and_restart().await,
            }
            world.clock.advance(Duration::from_secs(1));
            let present = rows(world).await.iter().filter(|row| row.failure().is_none()).count();
            assert!(present <= 4, "never over the maximum: {present}");
            settles_at(world, 3).await;
        }
        assert_eq!(world.violations().await, Vec::<String>::new());
        tear_down(world).await;
    }

    async fn a_full_deployment_brings_one_more_up_to_the_maximum(world: &mut World) {
        version(world, "seats", "fake/game:ok", RestartPolicy::Always, Some(5)).await;
        set_up(world, policy(1, Some(3))).await;
        settles_at(world, 1).await;
        let first = join(world, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(ready(world).await.len(), 1);
        assert_eq!(join(world, 1).await, Some(first));
        settles_at(world, 2).await;
        for _ in 0..6 {
            join(world, 1).await.unwrap();
        }
        settles_at(world, 3).await;
        for _ in 0..4 {
            join(world, 1).await.unwrap();
        }
        assert_eq!(join(world, 1).await, None, "the maximum is reached");
        settles_at(world, 3).await;
        // All leave: those beyond the minimum end, the last one stays.
        for row in world.engine.list_sessions(&world.admin, ALL).await.unwrap().items {
            world.engine.delete_session(&world.admin, row.session.id).await.ok();
        }
        for _ in 0..4 {
            world.clock.advance(Duration::from_secs(5 * 60));
            tokio::time::sleep(Duration::from_millis(700)).await;
            assert!(!ready(world).await.is_empty());
        }
        settles_at(world, 1).await;
        tear_down(world).await;
    }

    async fn what_always_fails_costs_ten_deployments_in_five_minutes_and_six_an_hour_after(world: &mut World) {
        version(world, "seats", "fake/game:exit-1", RestartPolicy::Never, None).await;
        set_up(world, policy(3, None)).await;
        let made = async || rows(world).await.len();
        for _ in 0..30 {
            world.clock.advance(Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        assert!(made().await <= 10, "{} in five minutes", made().await);
        // A busy machine may be behind the clock.
        world.eventually("the budget is spent", async || {
            world.clock.advance(Duration::from_secs(1));
            made().await >= 10
        }).await;
        assert_eq!(made().await, 10);
        for _ in 0..36 {
            world.clock.advance(Duration::from_secs(100));
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        assert!(made().await <= 16, "{} in the hour after", made().await - 10);
        world.eventually("some are tried in the hour after", async || {
            world.clock.advance(Duration::from_secs(1));
            made().await >= 14
        }).await;
        // A version that is mended begins anew.
        let mended = spawnpoint_engine::versions::VersionInput { tag: Some("ok".into()), ..Default::default() };
        let seats = VersionName::parse("seats").unwrap();
        world.engine.update_version(&world.admin, &app("arena"), &seats, mended).await.unwrap();
        world.clock.advance(Duration::from_secs(120));
        world.eventually("it works", async || ready(world).await.len() == 3).await;
        tear_down(world).await;
    }

    async fn what_works_may_be_started_as_often_as_it_takes(world: &mut World) {
        version(world, "seats", "fake/game:ok", RestartPolicy::Always, None).await;
        set_up(world, policy(2, None)).await;
        for _ in 0..15 {
            world.eventually("two are ready", async || ready(world).await.len() == 2).await;
            world.clock.advance(Duration::from_secs(11));
            let all = rows(world).await;
            let victim = all.iter().find(|row| row.status() == Status::Ready).unwrap();
            world.hosts[workload(world, victim)].forget(victim.workload());
            world.eventually("it is missed", async || {
                !ready(world).await.contains(&victim.id)
            }).await;
        }
        settles_at(world, 2).await;
        tear_down(world).await;
    }

    async fn policies_place_by_filters_and_by_points(world: &mut World) {
        version(world, "seats", "fake/game:ok", RestartPolicy::Always, None).await;
        let filter = LocationFilter { field: LocationField::City, values: vec!["tokyo".into()], filter_type: FilterType::Any };
        set_up(world, PolicySpec { filters: vec![filter], ..policy(2, None) }).await;
        let near = PolicySpec {
            kind: PolicyKind::Coordinates,
            points: vec![GeoPoint { latitude: 46.0, longitude: 5.0 }],
            ..policy(1, None)
        };
        world.engine.create_policy(&world.admin, &fleet(), policy_name("near"), near).await.unwrap();
        settles_at(world, 3).await;
        let mut hosts: Vec<_> = rows(world).await.iter().map(|row| row.state.host.clone().unwrap().to_string()).collect();
        hosts.sort();
        assert_eq!(hosts, ["lyon-1", "tokyo-1", "tokyo-1"]);
        let renamed = FleetPatch { name: Some(FleetName::parse("renamed").unwrap()), enabled: None };
        world.engine.update_fleet(&world.admin, &fleet(), renamed).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(rows(world).await.len(), 0, "they are found under the new name");
        let all = world.engine.list_deployments(&world.admin, ListQuery::default(), ALL).await.unwrap();
        assert_eq!(all.total, 3, "nothing is started twice");
        world.engine.delete_fleet(&world.admin, &FleetName::parse("renamed").unwrap()).await.unwrap();
    }
}
