//! `PATCH /v1/deployments/{id}`, `:report` and `:available`.

use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_model::TokenId;
use spawnpoint_model::token::{Actor, Scope};

use crate::schemas::check_v1;
use crate::world::{World, deployment, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_sessions_may_join_is_set_and_shown_everywhere() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let path = format!("/v1/deployments/{id}");
    for (body, expected) in [
        (json!({}), false),
        (json!({"is_joinable_by_session": true}), true),
        (json!({"is_joinable_by_session": true}), true),
        (json!({"is_joinable_by_session": null, "ready": false}), true),
        (json!({"is_joinable_by_session": false}), false),
        (json!({"is_joinable_by_session": true}), true),
    ] {
        let answer = world.patch(&path, &body).await.expect(200);
        check_v1("DeploymentUpdateResponse", &answer);
        assert_eq!(answer, json!({"is_joinable_by_session": expected}), "{body}");
        let listed = world.get("/v1/deployments").await.expect(200);
        assert_eq!(listed["data"][0]["is_joinable_by_session"], expected);
    }
    for bad in [json!("true"), json!(1), json!([])] {
        let answer = world.patch(&path, &json!({"is_joinable_by_session": bad})).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().starts_with("is_joinable_by_session"), "{answer:?}");
    }
    check_v1("Error", &world.patch("/v1/deployments/000000000000", &json!({})).await.expect(404));
    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    world.until(&id, "TERMINATED").await;
    check_v1("Error", &world.patch(&path, &json!({"is_joinable_by_session": false})).await.expect(404));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_kept_in_the_history_also_after_the_end_and_are_bounded() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let path = format!("/v1/deployments/{id}:report");
    let metadata = json!({"fps": 12, "map": "dust", "nested": {"a": [null]}});
    let body = json!({"reason": "it lags", "metadata": metadata});
    assert_eq!(world.post(&path, &body).await.expect(200), json!({}));
    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    world.until(&id, "TERMINATED").await;
    for _ in 1..64 {
        world.post(&format!("/v1/deployments/{id}%3Areport"), &json!({"reason": "x"})).await.expect(200);
    }
    let many = world.post(&path, &json!({"reason": "x"})).await;
    many.expect(400);
    assert!(many.message().contains("64"), "{many:?}");

    let admin = Actor { token: TokenId::from("test"), scope: Scope::Admin, apps: Vec::new() };
    let events = world.engine.events(&admin, id.parse().unwrap()).await.unwrap();
    let reports: Vec<_> = events.iter().filter(|event| event.kind == "reported").collect();
    assert_eq!(reports.len(), 64);
    let detail: Value = serde_json::from_str(&reports[0].detail).unwrap();
    assert_eq!(detail, json!({"reason": "it lags", "metadata": metadata}));
    for (path, code) in [
        ("/v1/deployments/000000000000:report", 404),
        ("/v1/deployments/nonsense:report", 404),
        ("/v1/deployments/:report", 404),
        (&format!("/v1/deployments/{id}:restart"), 404),
        (&format!("/v1/deployments/{id}"), 404),
    ] {
        check_v1("Error", &world.post(path, &body).await.expect(code));
    }
    world.end().await;
}

/// A version of `arena` with so many sockets.
async fn with_sockets(world: &World, name: &str, kind: &str, sockets: u32) {
    let mut body = version(name, "fake/game", "ok");
    body["session_config"] = json!({"kind": kind, "sockets": sockets});
    world.post("/v1/app/arena/version", &body).await.expect(200);
}

/// A ready deployment near a point that sessions may join.
async fn joinable(world: &World, version: &str, latitude: f64, longitude: f64) -> String {
    let mut body = deployment(version);
    body["users"][0]["user_data"] = json!({"latitude": latitude, "longitude": longitude});
    world.clock.advance(Duration::from_secs(1));
    let id =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    world.until(&id, "READY").await;
    let body = json!({"is_joinable_by_session": true});
    world.patch(&format!("/v1/deployments/{id}"), &body).await.expect(200);
    id
}

/// The ids that are found for `arena` and a version, with fields laid over the request.
async fn available(world: &World, version: &str, fields: &Value) -> Vec<String> {
    let mut body = json!({"app_name": "arena", "app_version": version});
    for (key, value) in fields.as_object().unwrap() {
        body[key] = value.clone();
    }
    let answer = world.post("/v1/deployments:available", &body).await.expect(200);
    let data = answer["data"].as_array().unwrap();
    assert_eq!(answer["total_count"], data.len());
    for item in data {
        assert_eq!((&item["app_name"], &item["app_version"]), (&json!("arena"), &json!(version)));
        assert_eq!(item["available_sockets"], 5, "{item}");
    }
    data.iter().map(|item| item["request_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn available_are_ready_joinable_deployments_with_sockets_the_nearest_first() {
    let world = World::with_arena().await;
    with_sockets(&world, "seats", "Seat", 5).await;
    with_sockets(&world, "none", "Default", 5).await;
    let montreal = joinable(&world, "seats", 45.5, -73.6).await;
    let tokyo = joinable(&world, "seats", 35.7, 139.7).await;
    let lyon = joinable(&world, "seats", 45.7, 4.8).await;
    joinable(&world, "v1", 45.7, 4.8).await;
    joinable(&world, "none", 45.7, 4.8).await;
    for version in ["v1", "none"] {
        assert_eq!(
            available(&world, version, &json!({})).await,
            Vec::<String>::new(),
            "{version}: no sessions"
        );
    }
    let all = [montreal.clone(), tokyo.clone(), lyon.clone()];
    assert_eq!(available(&world, "seats", &json!({})).await, all, "the oldest first");
    let near_lyon = json!({"latitude": 45.0, "longitude": 5.0});
    assert_eq!(available(&world, "seats", &near_lyon).await, [lyon.clone(), montreal.clone(), tokyo.clone()]);
    let unknown = json!({"ip_list": ["198.51.100.1"]});
    assert_eq!(available(&world, "seats", &unknown).await, all, "nobody knows where that is");
    for (fields, found) in [
        (json!({"minimum_sockets": 5}), 3),
        (json!({"minimum_sockets": 6}), 0),
        (json!({"location": "TOKYO"}), 1),
        (json!({"location": "Somewhere"}), 3),
        (json!({"location": "Paris"}), 0),
    ] {
        assert_eq!(available(&world, "seats", &fields).await.len(), found, "{fields}");
    }
    let page = json!({"app_name": "arena", "app_version": "seats", "latitude": 45.0, "longitude": 5.0});
    let page = world.post("/v1/deployments:available?page=2&limit=2", &page).await.expect(200);
    assert_eq!((&page["total_count"], &page["data"][0]["request_id"]), (&json!(3), &json!(tokyo)));
    assert_eq!(page["pagination"]["has_next"], false);

    let closed = json!({"is_joinable_by_session": false});
    world.patch(&format!("/v1/deployments/{tokyo}"), &closed).await.expect(200);
    world.delete(&format!("/v1/stop/{lyon}")).await.expect(200);
    assert_eq!(available(&world, "seats", &json!({})).await, [montreal]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_available_is_named() {
    let world = World::with_arena().await;
    for (body, word) in [
        (json!({"app_name": "nobody", "app_version": "v1"}), "app_name"),
        (json!({"app_name": "arena", "app_version": "v9"}), "app_version"),
        (json!({"app_name": "arena", "app_version": "v1", "latitude": 1}), "longitude"),
        (json!({"app_name": "arena", "app_version": "v1", "minimum_sockets": -1}), "minimum_sockets"),
    ] {
        let answer = world.post("/v1/deployments:available", &body).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().contains(word), "{body}: {answer:?}");
    }
    let body = json!({"app_name": "arena", "app_version": "v1"});
    assert_eq!(world.post("/v1/deployments:available?limit=0", &body).await.code, 400);
    world.end().await;
}
