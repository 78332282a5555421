//! Private fleets: named hosts first, then the shared ones; what operators say of hosts holds, lasts, and is carried out.

use std::time::Duration;

use spawnpoint_engine::private_fleets::HostReport;
use spawnpoint_engine::{DeployRequest, Error, Player};
use spawnpoint_model::deployment::{Phase, Status, StopCause};
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::host_settings::Drain;
use spawnpoint_model::query::{Condition, ListQuery, Page, TextMatch};
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, HostId, TokenId};
use spawnpoint_store::dialect::Dialect;

use crate::world::{World, on_both};

const PAGE: Page = Page { number: 1, limit: 100 };

fn kyoto() -> HostId {
    "kyoto-1".into()
}

/// A request for a player in Lyon that names hosts.
fn naming(world: &World, hosts: &[&str]) -> DeployRequest {
    let mut request = world.request("v1");
    request.players = vec![Player::At(GeoPoint { latitude: 45.7, longitude: 4.8 })];
    request.preferred_hosts = hosts.iter().map(|host| HostId::from(*host)).collect();
    request
}

/// Deploys to the hosts that are named; where it went.
async fn deploy(world: &World, hosts: &[&str]) -> (DeploymentId, String) {
    let outcome = world.engine.deploy(&world.admin, naming(world, hosts), None).await.unwrap();
    let place = outcome.view.place.unwrap_or_else(|| panic!("{:?}", outcome.refused));
    (outcome.view.deployment.id, place.host.to_string())
}

async fn reasons(world: &World, id: DeploymentId) -> String {
    world.engine.events(&world.admin, id).await.unwrap()[0].detail.clone()
}

async fn host(world: &World, id: &HostId) -> HostReport {
    world.engine.get_host(&world.admin, id).await.unwrap()
}

/// Ids of the hosts that the fleet lists.
async fn listed(world: &World) -> Vec<String> {
    let (_, hosts) = world.engine.list_fleet_hosts(&world.admin, "tournament", PAGE).await.unwrap();
    hosts.items.iter().map(|host| host.host.id.to_string()).collect()
}

async fn until_ended(world: &World, id: DeploymentId) -> Phase {
    world
        .eventually("it has ended", async || {
            world.clock.advance(Duration::from_millis(100));
            world.view(id).await.deployment.status() == Status::Terminated
        })
        .await;
    world.view(id).await.deployment.state.phase.clone()
}

on_both! {
    async fn named_hosts_are_taken_in_order_until_full_and_then_the_shared_ones_near_the_players(world: &mut World) {
        let mut went = Vec::new();
        for _ in 0..9 {
            went.push(deploy(world, &["osaka-1", "kyoto-1"]).await);
        }
        let hosts: Vec<&str> = went.iter().map(|(_, host)| host.as_str()).collect();
        assert_eq!(hosts[..4], ["osaka-1"; 4]);
        assert_eq!(hosts[4..8], ["kyoto-1"; 4]);
        assert_eq!(hosts[8], "lyon-1");
        assert!(reasons(world, went[4].0).await.contains("osaka-1 (osaka): full"), "{}", reasons(world, went[4].0).await);
        let (_, fleet) = world.engine.list_fleet_hosts(&world.admin, "tournament", PAGE).await.unwrap();
        let figures: Vec<_> = fleet.items.iter().map(|h| (h.reserved.cpu.0, h.reserved.memory.0, h.deployments)).collect();
        assert_eq!(figures, [(4096, 2048, 4); 2]);
    }

    async fn who_does_not_name_a_private_host_does_not_get_one(world: &mut World) {
        for _ in 0..12 {
            deploy(world, &[]).await;
        }
        let refused = world.engine.deploy(&world.admin, naming(world, &[]), None).await.unwrap();
        assert!(refused.refused.unwrap().contains("2 of private fleets that were not asked for"));
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "kyoto-1");
    }

    async fn unknown_hosts_are_passed_over_unless_all_are(world: &mut World) {
        let (id, went) = deploy(world, &["nobody", "kyoto-1"]).await;
        assert_eq!(went, "kyoto-1");
        assert!(reasons(world, id).await.contains("nobody: passed over, there is no such host"));
        match world.engine.deploy(&world.admin, naming(world, &["nobody", "neither"]), None).await {
            Err(Error::Invalid(invalids)) => assert_eq!(invalids.0[0].field, "private_host_ids"),
            other => panic!("{other:?}"),
        }
        assert_eq!(world.store.live_deployments().await.unwrap().len(), 1, "nothing was created");
    }

    async fn a_host_that_does_not_answer_is_pending_and_passed_over(world: &mut World) {
        assert!(host(world, &kyoto()).await.is_active());
        world.hosts[3].set_unreachable(true);
        world.eventually("it is pending", async || !host(world, &kyoto()).await.is_active()).await;
        assert_eq!(deploy(world, &["kyoto-1", "osaka-1"]).await.1, "osaka-1");
        world.hosts[3].set_unreachable(false);
        world.eventually("it is active", async || host(world, &kyoto()).await.is_active()).await;
        assert_eq!(deploy(world, &["kyoto-1", "osaka-1"]).await.1, "kyoto-1");
    }

    async fn a_cordon_holds_over_a_restart_and_touches_nothing_that_runs(world: &mut World) {
        let id = world.engine.deploy(&world.admin, naming(world, &["kyoto-1"]), None).await.unwrap().view.deployment.id;
        world.until(id, Status::Ready).await;
        let seen_at = host(world, &kyoto()).await.settings.created_at;
        assert!(world.engine.cordon_host(&world.admin, &kyoto()).await.unwrap().standing.cordoned);
        assert_eq!(deploy(world, &["kyoto-1", "osaka-1"]).await.1, "osaka-1");
        world.clock.advance(Duration::from_secs(60));
        world.crash_and_restart().await;
        let cordoned = host(world, &kyoto()).await;
        assert_eq!((cordoned.standing.cordoned, cordoned.settings.created_at), (true, seen_at));
        assert_eq!(deploy(world, &["kyoto-1", "osaka-1"]).await.1, "osaka-1");
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        let open = world.engine.uncordon_host(&world.admin, &kyoto()).await.unwrap();
        assert!(!open.standing.cordoned && open.settings.updated_at > seen_at);
        assert_eq!(deploy(world, &["kyoto-1", "osaka-1"]).await.1, "kyoto-1");
    }

    async fn a_drain_that_waits_ends_when_the_last_deployment_does(world: &mut World) {
        let (id, _) = deploy(world, &["kyoto-1"]).await;
        world.until(id, Status::Ready).await;
        let drained = world.engine.drain_host(&world.admin, &kyoto(), Drain::Wait).await.unwrap();
        assert_eq!((drained.standing.drain, drained.deployments), (Some(Drain::Wait), 1));
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "lyon-1");
        assert_eq!(world.view(id).await.deployment.status(), Status::Ready);
        world.stop(id).await.unwrap();
        assert_eq!(until_ended(world, id).await, Phase::Terminated(StopCause::User));
        world.eventually("it is empty", async || host(world, &kyoto()).await.deployments == 0).await;
    }

    async fn a_drain_that_stops_ends_everything_there_once_with_its_cause_and_nothing_elsewhere(world: &mut World) {
        let mut there = Vec::new();
        for _ in 0..3 {
            there.push(deploy(world, &["kyoto-1"]).await.0);
        }
        let (elsewhere, _) = deploy(world, &["osaka-1"]).await;
        for id in there.iter().chain([&elsewhere]) {
            world.until(*id, Status::Ready).await;
        }
        world.engine.drain_host(&world.admin, &kyoto(), Drain::Stop).await.unwrap();
        for id in &there {
            assert_eq!(until_ended(world, *id).await, Phase::Terminated(StopCause::Drained));
        }
        assert_eq!(world.view(elsewhere).await.deployment.status(), Status::Ready);
        world.eventually("the host is empty", async || host(world, &kyoto()).await.deployments == 0).await;
        world
            .eventually("each is announced once", async || {
                world.clock.advance(Duration::from_secs(1));
                world.arrived().iter().filter(|path| *path == "/terminated").count() == 3
            })
            .await;
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "lyon-1");
    }

    async fn a_drain_goes_on_after_a_crash(world: &mut World) {
        let (id, _) = deploy(world, &["kyoto-1"]).await;
        world.until(id, Status::Ready).await;
        // What another control plane wrote just before it died.
        let mut tx = spawnpoint_store::Tx::new();
        tx.set_host_cordon(&kyoto(), true, Some(Drain::Stop), world.engine.now());
        world.store.commit(tx).await.unwrap();
        world.crash_and_restart().await;
        assert_eq!(until_ended(world, id).await, Phase::Terminated(StopCause::Drained));
        assert_eq!(host(world, &kyoto()).await.standing.drain, Some(Drain::Stop));
    }

    async fn a_host_is_given_up_at_its_time_and_can_be_kept(world: &mut World) {
        let (id, _) = deploy(world, &["kyoto-1"]).await;
        world.until(id, Status::Ready).await;
        let at = world.engine.now().plus(Duration::from_secs(3600));
        let scheduled = world.engine.schedule_host_deletion(&world.admin, &kyoto(), at).await.unwrap();
        let deletion = scheduled.settings.deletion.unwrap();
        assert_eq!((deletion.at, deletion.id.len(), scheduled.standing.cordoned), (at, 36, false));
        assert_eq!(listed(world).await, ["kyoto-1", "osaka-1"]);
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "kyoto-1", "until then it is as the others");
        world.clock.advance(Duration::from_secs(3600));
        assert_eq!(until_ended(world, id).await, Phase::Terminated(StopCause::Drained));
        assert_eq!(listed(world).await, ["osaka-1"]);
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "lyon-1");
        assert!(matches!(world.engine.uncordon_host(&world.admin, &kyoto()).await, Err(Error::Conflict(_))));
        world.crash_and_restart().await;
        assert!(host(world, &kyoto()).await.standing.retired);
        let kept = world.engine.keep_host(&world.admin, &kyoto()).await.unwrap();
        assert!(kept.standing.cordoned && !kept.standing.retired && kept.settings.deletion.is_none());
        assert!(matches!(world.engine.keep_host(&world.admin, &kyoto()).await, Err(Error::NotFound(_))));
        world.engine.uncordon_host(&world.admin, &kyoto()).await.unwrap();
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "kyoto-1");
    }

    async fn another_control_plane_follows_at_once(world: &mut World) {
        if world.store.dialect() == Dialect::Sqlite {
            return;
        }
        let other = world.second().await;
        let (id, _) = deploy(world, &["kyoto-1"]).await;
        world.until(id, Status::Ready).await;
        other.cordon_host(&world.admin, &kyoto()).await.unwrap();
        assert_eq!(deploy(world, &["kyoto-1"]).await.1, "lyon-1", "the first need not have heard of it");
        assert!(host(world, &kyoto()).await.standing.cordoned);
        other.uncordon_host(&world.admin, &kyoto()).await.unwrap();
        world.eventually("the first knows", async || !host(world, &kyoto()).await.standing.cordoned).await;
        other.drain_host(&world.admin, &kyoto(), Drain::Stop).await.unwrap();
        other.shut_down(Duration::from_secs(5)).await;
        assert_eq!(until_ended(world, id).await, Phase::Terminated(StopCause::Drained));
    }

    async fn deployments_are_found_by_the_fleet_of_their_host(world: &mut World) {
        let (private, _) = deploy(world, &["kyoto-1"]).await;
        let (shared, _) = deploy(world, &[]).await;
        let found = async |how: TextMatch| {
            let query = ListQuery { conditions: vec![Condition::Fleet(how)], ..ListQuery::default() };
            let list = world.engine.list_deployments(&world.admin, query, PAGE).await.unwrap();
            list.items.iter().map(|view| view.deployment.id).collect::<Vec<_>>()
        };
        let names = || vec!["tournament".to_owned()];
        assert_eq!(found(TextMatch::In(names())).await, [private]);
        assert_eq!(found(TextMatch::Like("tour%".to_owned())).await, [private]);
        assert_eq!(found(TextMatch::NotIn(names())).await, [shared]);
        assert_eq!(found(TextMatch::In(vec!["other".to_owned()])).await, []);
    }

    async fn hosts_and_fleets_are_shown_to_whom_they_concern(world: &mut World) {
        let nobody = HostId::from("nobody");
        assert!(matches!(world.engine.cordon_host(&world.admin, &nobody).await, Err(Error::NotFound(_))));
        assert!(matches!(world.engine.get_host(&world.admin, &nobody).await, Err(Error::NotFound(_))));
        let reader = Actor { token: TokenId::from("reader"), scope: Scope::Read, apps: Vec::new() };
        assert!(matches!(world.engine.drain_host(&reader, &kyoto(), Drain::Stop).await, Err(Error::Forbidden(_))));
        assert!(world.engine.list_fleet_hosts(&reader, "tournament", PAGE).await.is_ok());
        match world.engine.list_fleet_hosts(&reader, "nobody's", PAGE).await {
            Err(Error::Invalid(invalids)) => assert_eq!(invalids.0[0].field, "fleet-name"),
            other => panic!("{other:?}"),
        }
        let fleets = world.engine.list_private_fleets(&world.admin, PAGE).await.unwrap();
        assert_eq!((fleets.total, fleets.items[0].hosts.len()), (1, 2));
        let all = world.engine.list_hosts(&world.admin, Page { number: 2, limit: 2 }).await.unwrap();
        let ids: Vec<_> = all.items.iter().map(|host| host.host.id.to_string()).collect();
        assert_eq!((all.total, ids), (5, vec!["montreal-1".to_owned(), "osaka-1".to_owned()]));
    }
}
