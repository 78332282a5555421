//! Deployments that sessions may join: who is found on either database, and in which order.

use spawnpoint_engine::available::AvailableQuery;
use spawnpoint_engine::versions::SessionInput;
use spawnpoint_engine::{Error, Player};
use spawnpoint_model::app::SessionKind;
use spawnpoint_model::deployment::Status;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::query::Page;
use spawnpoint_model::token::Actor;
use spawnpoint_model::{DeploymentId, VersionName};

use crate::world::{World, app, on_both};

fn at(latitude: f64, longitude: f64) -> Vec<Player> {
    vec![Player::At(GeoPoint { latitude, longitude })]
}

fn query(players: Vec<Player>) -> AvailableQuery {
    let version = VersionName::parse("seats").unwrap();
    AvailableQuery { app: app("arena"), version, minimum_sockets: 1, players, place: None }
}

async fn found(world: &World, query: AvailableQuery) -> Vec<DeploymentId> {
    let page = Page { number: 1, limit: 100 };
    let found = world.engine.available(&world.admin, &query, page).await.unwrap();
    assert!(found.items.iter().all(|available| available.sockets == 5), "{found:?}");
    found.items.iter().map(|available| available.deployment.id).collect()
}

on_both! {
    async fn ready_deployments_that_may_be_joined_are_found_the_nearest_first(world: &mut World) {
        let sessions =
            SessionInput { kind: Some(SessionKind::Seat), sockets: Some(5), ..SessionInput::default() };
        world.create_version("arena", "seats", "fake/game:ok", |input| input.session = Some(Some(sessions))).await;
        let mut ids = Vec::new();
        for (latitude, longitude) in [(45.7, 4.8), (35.7, 139.7), (45.5, -73.6)] {
            let mut request = world.request("seats");
            request.players = at(latitude, longitude);
            let id = world.engine.deploy(&world.admin, request, None).await.unwrap().view.deployment.id;
            world.until(id, Status::Ready).await;
            ids.push(id);
        }
        let [lyon, tokyo, montreal] = ids[..] else { unreachable!("three were deployed") };
        let other = world.deploy_ready("v1").await;
        for id in &ids {
            world.engine.set_joinable(&world.admin, *id, Some(false)).await.unwrap();
        }
        assert_eq!(found(world, query(Vec::new())).await, []);
        for id in [lyon, tokyo, montreal, other] {
            world.engine.set_joinable(&world.admin, id, Some(true)).await.unwrap();
        }
        assert_eq!(found(world, query(at(34.0, 135.0))).await, [tokyo, lyon, montreal]);
        assert_eq!(found(world, query(at(48.0, 2.0))).await, [lyon, montreal, tokyo]);
        assert_eq!(found(world, AvailableQuery { minimum_sockets: 6, ..query(Vec::new()) }).await, []);
        assert_eq!(found(world, AvailableQuery { place: Some("Lyon ".into()), ..query(Vec::new()) }).await, [lyon]);
        world.stop(lyon).await.unwrap();
        world.until(lyon, Status::Terminated).await;
        assert_eq!(found(world, query(at(48.0, 2.0))).await, [montreal, tokyo]);

        let page = Page { number: 1, limit: 1 };
        let first = world.engine.available(&world.admin, &query(at(48.0, 2.0)), page).await.unwrap();
        assert_eq!((first.items.len(), first.total), (1, 2));
        world.create_app("other").await;
        let stranger = Actor { apps: vec![app("other")], ..world.admin.clone() };
        let refused = world.engine.available(&stranger, &query(Vec::new()), page).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
    }
}
