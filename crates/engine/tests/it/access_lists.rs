//! Access lists: in force from the start, changed while matches run, on all control planes, gone with the workload.

use spawnpoint_driver::fake::Op;
use spawnpoint_driver::{AccessList, DriverError};
use spawnpoint_engine::access_lists::NewEntry;
use spawnpoint_engine::versions::VersionInput;
use spawnpoint_engine::{Engine, Error};
use spawnpoint_model::deployment::Status;
use spawnpoint_model::limits::ACCESS_ENTRIES_MAX;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{AccessEntryId, Cidr, DeploymentId, TokenId};

use crate::world::{World, app, on_both, version};

fn network(text: &str) -> NewEntry {
    NewEntry { network: Cidr::parse(text).unwrap(), label: String::new(), is_active: true }
}

async fn add(world: &World, entry: NewEntry) -> AccessEntryId {
    world.engine.create_access(&world.admin, &app("arena"), &version("closed"), entry).await.unwrap().id
}

/// Who is let in to a deployment, as its host says; `None`: everybody.
fn let_in(world: &World, id: DeploymentId) -> Option<Vec<String>> {
    let lists: Vec<AccessList> = world.hosts.iter().flat_map(|host| host.access_lists()).collect();
    let list = lists.into_iter().find(|list| list.id.deployment == id)?;
    assert!(!list.ports.is_empty());
    Some(list.networks.iter().map(ToString::to_string).collect())
}

async fn until_let_in(world: &World, id: DeploymentId, networks: &[&str]) {
    let so = async || let_in(world, id).is_some_and(|now| now == networks);
    world.eventually(&format!("{networks:?} are let in"), so).await;
}

async fn with_closed_version(world: &World) {
    world.create_version("arena", "closed", "fake/game:ok", |v| v.access_list_active = Some(true)).await;
}

on_both! {
    async fn a_list_is_in_force_from_the_start_and_is_changed_while_it_runs(world: &mut World) {
        with_closed_version(world).await;
        let first = add(world, network("10.1.2.3/8")).await;
        add(world, NewEntry { is_active: false, ..network("198.51.100.0/24") }).await;
        let id = world.deploy_ready("closed").await;
        assert_eq!(let_in(world, id).unwrap(), ["10.0.0.0/8"]);
        let open = world.deploy_ready("v1").await;
        assert_eq!(let_in(world, open), None);
        add(world, network("203.0.113.7")).await;
        until_let_in(world, id, &["10.0.0.0/8", "203.0.113.7/32"]).await;
        let removed = world.engine.delete_access(&world.admin, &app("arena"), &version("closed"), first).await.unwrap();
        assert_eq!(removed.id, first);
        until_let_in(world, id, &["203.0.113.7/32"]).await;
        assert_eq!(world.violations().await, Vec::<String>::new());
        world.stop(id).await.unwrap();
        world.until(id, Status::Terminated).await;
        assert_eq!(let_in(world, id), None);
    }

    async fn an_empty_list_lets_in_nobody_and_switching_it_off_is_for_new_deployments(world: &mut World) {
        with_closed_version(world).await;
        let id = world.deploy_ready("closed").await;
        assert_eq!(let_in(world, id).unwrap(), Vec::<String>::new());
        let input = VersionInput { access_list_active: Some(false), ..VersionInput::default() };
        world.engine.update_version(&world.admin, &app("arena"), &version("closed"), input).await.unwrap();
        let open = world.deploy_ready("closed").await;
        assert_eq!((let_in(world, id).unwrap().len(), let_in(world, open)), (0, None));
        // Its list is still one.
        add(world, network("10.0.0.0/8")).await;
        until_let_in(world, id, &["10.0.0.0/8"]).await;
        assert_eq!(let_in(world, open), None);
    }

    async fn a_version_that_is_renamed_or_removed_leaves_its_deployments_their_list(world: &mut World) {
        with_closed_version(world).await;
        add(world, network("10.0.0.0/8")).await;
        let id = world.deploy_ready("closed").await;
        let input = VersionInput { name: Some(version("other")), ..VersionInput::default() };
        world.engine.update_version(&world.admin, &app("arena"), &version("closed"), input).await.unwrap();
        world.engine.delete_version(&world.admin, &app("arena"), &version("other")).await.unwrap();
        world.hosts.iter().for_each(|host| host.forget_access_lists());
        world.crash_and_restart().await;
        until_let_in(world, id, &["10.0.0.0/8"]).await;
    }

    async fn what_a_host_has_lost_is_seen_by_the_audit_and_comes_back(world: &mut World) {
        with_closed_version(world).await;
        add(world, network("10.0.0.0/8")).await;
        let id = world.deploy_ready("closed").await;
        for host in &world.hosts {
            host.set_access_lists_possible(false);
            host.forget_access_lists();
        }
        world.clock.advance(std::time::Duration::from_secs(60));
        let violations = world.violations().await;
        assert!(violations.len() == 1 && violations[0].starts_with("I28: the access list of"), "{violations:?}");
        world.hosts.iter().for_each(|host| host.set_access_lists_possible(true));
        until_let_in(world, id, &["10.0.0.0/8"]).await;
        world.hosts.iter().for_each(|host| host.forget_access_lists());
        world.crash_and_restart().await;
        until_let_in(world, id, &["10.0.0.0/8"]).await;
    }

    async fn a_host_that_did_not_take_a_change_is_given_it_again(world: &mut World) {
        with_closed_version(world).await;
        let id = world.deploy_ready("closed").await;
        for host in &world.hosts {
            host.fail_next(Op::SetAccess, DriverError::Internal("the firewall is away".into()));
        }
        add(world, network("10.0.0.0/8")).await;
        world
            .eventually("the change has failed", async || {
                world.hosts.iter().map(|host| host.calls(Op::SetAccess)).sum::<u64>() > 3
            })
            .await;
        world.crash_and_restart().await;
        until_let_in(world, id, &["10.0.0.0/8"]).await;
    }

    async fn lists_are_bounded_and_belong_to_their_application(world: &mut World) {
        with_closed_version(world).await;
        let (engine, admin, arena) = (&world.engine, &world.admin, app("arena"));
        let id = add(world, network("10.0.0.0/8")).await;
        let shown = engine.get_access(admin, &arena, &version("closed"), id).await.unwrap();
        assert_eq!((shown.id, shown.network.to_string().as_str()), (id, "10.0.0.0/8"));
        for missing in [
            engine.get_access(admin, &arena, &version("v1"), id).await.err(),
            engine.delete_access(admin, &arena, &version("v1"), id).await.err(),
            engine.list_access(admin, &arena, &version("none")).await.err(),
            engine.create_access(admin, &app("none"), &version("v1"), network("::/0")).await.err(),
        ] {
            assert!(matches!(missing, Some(Error::NotFound(_))), "{missing:?}");
        }
        let other = Actor { token: TokenId::from("t"), scope: Scope::Admin, apps: vec![app("other")] };
        let refused = engine.delete_access(&other, &arena, &version("closed"), id).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))));
        for _ in 1..ACCESS_ENTRIES_MAX {
            add(world, network("10.0.0.0/8")).await;
        }
        let full = engine.create_access(admin, &arena, &version("closed"), network("10.0.0.0/8")).await;
        assert!(matches!(full, Err(Error::Conflict(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_control_plane_puts_a_change_in_force_too() {
    let Some(world) = World::postgres().await else { return };
    with_closed_version(&world).await;
    let id = world.deploy_ready("closed").await;
    let second: Engine = world.second().await;
    let before = world.hosts.iter().map(|host| host.calls(Op::SetAccess)).sum::<u64>();
    second
        .create_access(&world.admin, &app("arena"), &version("closed"), network("10.0.0.0/8"))
        .await
        .unwrap();
    until_let_in(&world, id, &["10.0.0.0/8"]).await;
    // Both of them: three hosts each.
    world
        .eventually("the first has seen the mark of the second", async || {
            world.hosts.iter().map(|host| host.calls(Op::SetAccess)).sum::<u64>() >= before + 6
        })
        .await;
    second.shut_down(std::time::Duration::from_secs(5)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_with_a_list_is_not_placed_where_lists_cannot_be_put_in_force() {
    let mut world = World::sqlite().await;
    with_closed_version(&world).await;
    world.hosts.iter().for_each(|host| host.set_access_lists_possible(false));
    world.crash_and_restart().await;
    let outcome = world.engine.deploy(&world.admin, world.request("closed"), None).await.unwrap();
    let why = outcome.refused.unwrap();
    assert!(why.contains("where access lists cannot be put in force"), "{why}");
    world.deploy_ready("v1").await;
    world.hosts[1].set_access_lists_possible(true);
    world.crash_and_restart().await;
    let id = world.deploy_ready("closed").await;
    assert_eq!(world.view(id).await.place.unwrap().host.as_str(), "montreal-1");
    world.stop(outcome.view.deployment.id).await.ok();
    world.end().await;
}
