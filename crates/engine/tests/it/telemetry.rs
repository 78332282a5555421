//! Which deployment is the best for whom, and where there is room, on either database.

use std::time::Duration;

use spawnpoint_engine::locations::RoomFor;
use spawnpoint_engine::telemetry::{TelemetryRequest, TelemetryResult};
use spawnpoint_engine::{Error, Player};
use spawnpoint_model::deployment::Status;
use spawnpoint_model::geo::GeoPoint;
use spawnpoint_model::query::Page;
use spawnpoint_model::token::{Actor, Scope};
use spawnpoint_model::{DeploymentId, Plaintext};

use crate::world::{World, app, on_both};

fn at(latitude: f64, longitude: f64) -> Vec<Player> {
    vec![Player::At(GeoPoint { latitude, longitude })]
}

/// Near the first, the second and the third host.
fn players() -> [Vec<Player>; 3] {
    [at(45.7, 4.8), at(45.5, -73.6), at(35.7, 139.7)]
}

async fn deploy_near(world: &World, players: Vec<Player>) -> DeploymentId {
    let mut request = world.request("v1");
    request.players = players;
    let id = world.engine.deploy(&world.admin, request, None).await.unwrap().view.deployment.id;
    world.until(id, Status::Ready).await;
    id
}

fn render(result: &TelemetryResult) -> String {
    let ids: Vec<String> = result.best_first.iter().map(ToString::to_string).collect();
    format!("{} {}", result.key, ids.join(","))
}

fn request(deployments: &[DeploymentId], players: Vec<Player>) -> TelemetryRequest {
    TelemetryRequest { deployments: deployments.to_vec(), players, webhook: None }
}

on_both! {
    async fn the_order_is_made_from_what_is_true_when_it_is_asked_for(world: &mut World) {
        let mut ids = Vec::new();
        for near in players() {
            ids.push(deploy_near(world, near).await);
        }
        let [lyon, montreal, tokyo] = ids[..] else { unreachable!("three were deployed") };
        let asked = request(&[tokyo, montreal, lyon], at(48.0, 2.0));
        let ticket = world.engine.request_telemetry(&world.admin, asked, render).await.unwrap();
        let result = world.engine.telemetry_result(&world.admin, &ticket.key).await.unwrap();
        assert_eq!((result.best_first, result.is_partial), (vec![lyon, montreal, tokyo], false));

        world.crash_and_restart().await;
        world.stop(lyon).await.unwrap();
        world.until(lyon, Status::Terminated).await;
        let result = world.engine.telemetry_result(&world.admin, &ticket.key).await.unwrap();
        assert_eq!((result.best_first, result.is_partial), (vec![montreal, tokyo], true));

        world.clock.advance(Duration::from_secs(15 * 60));
        let expired = world.engine.telemetry_result(&world.admin, &ticket.key).await;
        assert!(matches!(expired, Err(Error::NotFound(_))), "{expired:?}");
    }

    async fn a_webhook_gets_the_result_and_is_tried_again(world: &mut World) {
        let id = deploy_near(world, at(45.7, 4.8)).await;
        world.eventually("the ready webhook is sent", async || world.arrived() == ["/ready"]).await;
        world.receiver.answers.lock().push((500, None));
        let url = format!("http://{}/telemetry", world.receiver_address);
        let asked = TelemetryRequest {
            webhook: Some(Plaintext::new(url)), ..request(&[id], at(45.7, 4.8))
        };
        let reader = Actor { scope: Scope::Read, ..world.admin.clone() };
        let refused = world.engine.request_telemetry(&reader, asked.clone(), render).await;
        assert!(matches!(refused, Err(Error::Forbidden(_))), "{refused:?}");
        let ticket = world.engine.request_telemetry(&world.admin, asked, render).await.unwrap();
        world
            .eventually("it is tried again", async || {
                world.clock.advance(Duration::from_secs(1));
                world.arrived() == ["/ready", "/telemetry", "/telemetry"]
            })
            .await;
        let received = world.receiver.received.lock().clone();
        assert_eq!(received[1].body, format!("{} {id}", ticket.key));
        assert_eq!(received[1].headers["webhook-id"], received[2].headers["webhook-id"]);
        assert_eq!(received[1].body, received[2].body);
    }

    async fn of_the_requests_of_a_token_the_newest_hundred_are_kept(world: &mut World) {
        let id = deploy_near(world, at(45.7, 4.8)).await;
        let mut keys = Vec::new();
        for _ in 0..101 {
            world.clock.advance(Duration::from_millis(1));
            let asked = request(&[id], at(45.7, 4.8));
            keys.push(world.engine.request_telemetry(&world.admin, asked, render).await.unwrap().key);
        }
        let known = async |key: &str| world.engine.telemetry_result(&world.admin, key).await.is_ok();
        assert!(!known(&keys[0]).await && known(&keys[1]).await && known(&keys[100]).await);
    }

    async fn nothing_is_kept_of_a_request_about_deployments_that_are_not_there(world: &mut World) {
        let nobody = "0123456789ab".parse().unwrap();
        let refused =
            world.engine.request_telemetry(&world.admin, request(&[nobody], at(1.0, 2.0)), render).await;
        assert!(matches!(refused, Err(Error::Unprocessable(_))), "{refused:?}");
    }

    async fn a_site_whose_host_does_not_answer_or_is_full_has_no_room(world: &mut World) {
        let page = Page { number: 1, limit: 100 };
        let wanted = RoomFor { app: app("arena"), version: None };
        let found = async || {
            let list = world.engine.list_locations(&world.admin, Some(&wanted), page).await.unwrap();
            let names: Vec<String> = list.sites.items.iter().map(|site| site.id.to_string()).collect();
            (names.join(" "), list.without_room)
        };
        assert_eq!(found().await, ("lyon montreal tokyo".to_owned(), 0));
        world.hosts[1].set_unreachable(true);
        world.eventually("it is noticed", async || found().await == ("lyon tokyo".to_owned(), 1)).await;
        // Four of one vCPU fill a host.
        for _ in 0..4 {
            deploy_near(world, at(45.7, 4.8)).await;
        }
        assert_eq!(found().await, ("tokyo".to_owned(), 2));
        let all = world.engine.list_locations(&world.admin, None, page).await.unwrap();
        assert_eq!((all.sites.total, all.without_room), (3, 0));
        world.hosts[1].set_unreachable(false);
    }
}
