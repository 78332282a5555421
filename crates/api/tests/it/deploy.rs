//! Both deploy calls: what they answer, what they repeat, what makes them safe to repeat.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::schemas::{check_openapi, check_v1};
use crate::world::{ADMIN, Answer, World, deployment};

async fn with_key(world: &World, path: &str, key: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header("authorization", format!("token {ADMIN}"))
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()));
    world.send(request.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_answers_with_the_request_as_it_was_understood() {
    let world = World::with_arena().await;
    let body = json!({
        "app_name": "arena", "version_name": "v1", "ip_list": ["1.2.3.4", "1.2.3.5"], "is_public_app": false,
        "city": "Tokyo", "tags": ["ranked"], "skip_telemetry": true
    });
    let answer = world.post("/v1/deploy", &body).await.expect(200);
    check_v1("Request", &answer);
    check_openapi("deploy-v1.json", "/v1/deploy", 200, &without_nulls(&answer));
    let id = answer["request_id"].as_str().unwrap();
    let expected = json!({
        "request_id": id, "request_dns": format!("{id}.games.test"), "request_app": "arena", "request_version": "v1",
        "request_user_count": 2, "filters": [{"field": "city", "values": ["Tokyo"], "filter_type": "any"}],
        "container_log_storage": {"enabled": false, "endpoint_storage": null}, "tags": ["ranked"]
    });
    assert_eq!(answer, expected);
    let status = world.until(id, "READY").await;
    assert_eq!(status["location"]["city"], "tokyo");
    assert_eq!(status["tags"], json!(["ranked"]));
    world.end().await;
}

/// The older file knows no nulls; the newer behaviour is to send them for optional fields.
fn without_nulls(body: &Value) -> Value {
    match body {
        Value::Object(object) => Value::Object(
            object.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect(),
        ),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v1_takes_the_newest_version_and_goes_near_a_location() {
    let world = World::with_arena().await;
    world.create_version("arena", "v2", "fake/game", "ok").await;
    let body = json!({
        "app_name": "arena", "ip_list": ["1.2.3.4"], "location": {"latitude": 45, "longitude": -73},
        "geo_ip_list": [{"ip": "1.2.3.4", "latitude": 35, "longitude": 139}], "ap_sort_strategy": "weighted",
        "container_log_storage": {"enabled": true, "endpoint_storage": "s3"}
    });
    let answer = world.post("/v1/deploy", &body).await.expect(200);
    check_v1("Request", &answer);
    assert_eq!(answer["request_version"], "v2");
    assert_eq!(answer["location"], json!({"latitude": 45.0, "longitude": -73.0}));
    assert_eq!(answer["container_log_storage"], json!({"enabled": true, "endpoint_storage": "s3"}));
    assert_eq!(answer["ap_sort_strategy"], "weighted");
    assert_eq!(answer["request_user_count"], 1, "coordinates win over addresses");
    let status = world.until(answer["request_id"].as_str().unwrap(), "READY").await;
    assert_eq!(status["location"]["city"], "montreal");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_deployment_and_another_body_a_conflict() {
    let world = World::with_arena().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = with_key(&world, "/v2/deployments", "order-7", &deployment("v1")).await;
        ids.push(answer.expect(202)["request_id"].clone());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let mut other = deployment("v1");
    other["tags"] = json!(["other"]);
    let conflict = with_key(&world, "/v2/deployments", "order-7", &other).await;
    assert_eq!(conflict.code, 409, "{conflict:?}");
    let v1 = json!({"app_name": "arena", "ip_list": ["1.2.3.4"]});
    let first = with_key(&world, "/v1/deploy", "order-8", &v1).await.expect(200);
    assert_eq!(with_key(&world, "/v1/deploy", "order-8", &v1).await.expect(200), first);
    assert_eq!(world.count().await, 2);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unusable_key_creates_nothing() {
    let world = World::with_arena().await;
    for key in ["", &"x".repeat(256)] {
        let refused = with_key(&world, "/v2/deployments", key, &deployment("v1")).await;
        assert_eq!(refused.code, 400);
        assert!(refused.message().contains("Idempotency-Key"));
    }
    assert_eq!(world.count().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_inactive_applications_and_versions_are_named_and_create_nothing() {
    let world = World::with_arena().await;
    world.create_app("asleep").await;
    world.create_version("asleep", "v1", "fake/game", "ok").await;
    world.patch("/v1/app/asleep", &json!({"is_active": false})).await.expect(200);
    world.create_version("arena", "off", "fake/game", "ok").await;
    world.patch("/v1/app/arena/version/off", &json!({"is_active": false})).await.expect(200);
    for (app, version, v2_field, v1_field) in [
        ("nobody", "v1", "application", "app_name"),
        ("arena", "v9", "version", "version_name"),
        ("asleep", "v1", "application", "app_name"),
        ("arena", "off", "version", "version_name"),
    ] {
        let mut body = deployment(version);
        body["application"] = json!(app);
        let v2 = world.post("/v2/deployments", &body).await;
        check_openapi("deploy-v2.json", "/deployments", 400, &v2.expect(400));
        assert!(v2.json()["details"][v2_field].is_string(), "{v2:?}");
        let v1 = world
            .post("/v1/deploy", &json!({"app_name": app, "version_name": version, "ip_list": ["1.2.3.4"]}))
            .await;
        assert_eq!(v1.code, 400);
        assert!(v1.message().starts_with(v1_field), "{v1:?}");
    }
    assert_eq!(world.count().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_values_are_in_no_answer() {
    let world = World::with_arena().await;
    let mut body = deployment("v1");
    body["environment_variables"] = json!([{"key": "SECRET", "value": "canary-7c1f", "is_hidden": true}]);
    body["webhook_on_ready"] = json!({"url": "http://127.0.0.1:9/?key=canary-7c1f"});
    let deployed = world.post("/v2/deployments", &body).await;
    let id = deployed.expect(202)["request_id"].as_str().unwrap().to_owned();
    let status = world.until(&id, "READY").await;
    let list = world.get("/v1/deployments").await;
    let stop = world.delete(&format!("/v1/stop/{id}")).await;
    for text in [deployed.text, status.to_string(), list.text, stop.text] {
        assert!(!text.contains("canary"), "{text}");
    }
    world.end().await;
}
