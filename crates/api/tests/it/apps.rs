//! Applications and versions: made, shown, changed, listed, removed.

use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{World, version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_is_made_shown_changed_listed_and_removed() {
    let world = World::new().await;
    let body =
        json!({"name": "My Game 2.0", "is_active": true, "image": "aGk=", "is_telemetry_agent_active": true});
    let made = world.post("/v1/app", &body).await.expect(200);
    check_v1("Application", &made);
    assert_eq!((&made["image"], &made["is_telemetry_agent_active"]), (&json!("aGk="), &json!(false)));
    assert_eq!(made["create_time"], "2026-09-21 14:13:20.000000");
    assert_eq!(world.get("/v1/app/My%20Game%202.0").await.expect(200), made);
    assert_eq!(world.post("/v1/app", &body).await.code, 409);

    let changed = world
        .patch("/v1/app/My%20Game%202.0", &json!({"name": "arena", "is_active": false}))
        .await
        .expect(200);
    check_v1("Application", &changed);
    assert_eq!((&changed["name"], &changed["is_active"]), (&json!("arena"), &json!(false)));
    assert_eq!(world.get("/v1/app/My%20Game%202.0").await.code, 404);

    let list = world.get("/v1/apps").await.expect(200);
    check_v1("Applications", &list);
    assert_eq!((&list["total_count"], &list["applications"][0]["name"]), (&json!(1), &json!("arena")));
    world.delete("/v1/app/arena").await.expect(200);
    assert_eq!(world.delete("/v1/app/arena").await.code, 404);
    assert_eq!(world.get("/v1/apps").await.expect(200)["applications"], json!([]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applications_are_paged() {
    let world = World::new().await;
    for name in ["c", "a", "b"] {
        world.create_app(name).await;
    }
    let page = world.get("/v1/apps?page=2&limit=2").await.expect(200);
    assert_eq!(page["applications"].as_array().unwrap().len(), 1);
    let expected = json!({
        "number": 2, "next_page_number": null, "previous_page_number": 1, "paginator": {"num_pages": 2},
        "has_next": false, "has_previous": true
    });
    assert_eq!((&page["pagination"], &page["total_count"]), (&expected, &json!(3)));
    let beyond = world.get("/v1/apps?page=9").await.expect(200);
    assert_eq!(beyond["applications"], json!([]));
    for bad in ["page=0", "page=x", "limit=-1"] {
        let refused = world.get(&format!("/v1/apps?{bad}")).await;
        assert_eq!(refused.code, 400);
        assert!(refused.message().starts_with(bad.split('=').next().unwrap()));
    }
    world.end().await;
}

fn full_version() -> Value {
    let mut body = version("v1", "studio/arena", "1.0");
    let more = json!({
        "is_active": true, "docker_repository": "https://registry.example.com/", "private_username": "robot$push",
        "private_token": "canary-token", "req_video": 0, "max_duration": 30, "use_telemetry": true,
        "inject_context_env": true, "whitelisting_active": true, "force_cache": true, "cache_min_hour": 1,
        "cache_max_hour": 13, "time_to_deploy": 15, "enable_all_locations": false, "verify_image": false,
        "restart_policy": "on_failure", "command": "./server", "arguments": "-batchmode", "endpoint_storage": "s3",
        "termination_grace_period_seconds": 531, "build_type": "unity", "dns_config": {"x": 1},
        "will_deploy_in_mainland_china": false, "probe": {"optimal_ping": 60, "rejected_ping": 180},
        "session_config": {"kind": "Seat", "sockets": 10, "autodeploy": true, "empty_ttl": 60, "session_max_duration": 60},
        "envs": [
            {"key": "MODE", "value": "ranked", "is_hidden": false},
            {"key": "SECRET", "value": "canary-env", "is_secret": true}
        ]
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A version without what changes by itself: the share of the hosts that holds its image.
fn settled(version: &Value) -> Value {
    let mut version = version.clone();
    let cached = version.as_object_mut().unwrap().remove("caching_percent").unwrap();
    assert!((0.0..=1.0).contains(&cached.as_f64().unwrap()), "{cached}");
    version
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_version_comes_back_and_secrets_do_not() {
    let world = World::new().await;
    world.create_app("arena").await;
    let sent = full_version();
    let made = world.post("/v1/app/arena/version", &sent).await;
    let body = made.expect(200);
    assert_eq!(body["success"], true);
    let shown = world.get("/v1/app/arena/version/v1").await;
    assert_eq!(settled(&shown.expect(200)), settled(&body["version"]));
    assert!(!made.text.contains("canary") && !shown.text.contains("canary"));

    let mut expected = sent;
    expected["docker_repository"] = json!("registry.example.com");
    expected["private_token"] = json!("********");
    expected["ports"] =
        json!([{"port": 7777, "protocol": "UDP", "to_check": true, "tls_upgrade": false, "name": "game"}]);
    expected["envs"] = json!([
        {"key": "MODE", "value": "ranked", "is_hidden": false, "is_secret": false},
        {"key": "SECRET", "value": null, "is_hidden": true, "is_secret": true}
    ]);
    expected["create_time"] = json!("2026-09-21 14:13:20.000000");
    expected["last_updated"] = expected["create_time"].clone();
    assert_eq!(settled(&body["version"]), expected);

    let mut typed = expected.clone();
    typed["envs"][1]["value"] = json!("");
    check_v1("AppVersionPayload", &typed);
    let list = world.get("/v1/app/arena/versions").await.expect(200);
    assert_eq!((settled(&list["versions"][0]), &list["total_count"]), (expected, &json!(1)));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_read_can_be_written_back_unchanged() {
    let world = World::new().await;
    world.create_app("arena").await;
    world.post("/v1/app/arena/version", &full_version()).await.expect(200);
    let read = world.get("/v1/app/arena/version/v1").await.expect(200);
    let written = world.patch("/v1/app/arena/version/v1", &read).await.expect(200);
    check_v1("AppVersionDelete", &json!({"success": written["success"]}));
    assert_eq!(settled(&written["version"]), settled(&read));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_becomes_hidden_keeps_its_value_and_is_shown_no_more() {
    let world = World::new().await;
    world.create_app("arena").await;
    world.post("/v1/app/arena/version", &full_version()).await.expect(200);
    let change = json!({"envs": [{"key": "MODE", "value": null, "is_hidden": true}]});
    let changed = world.patch("/v1/app/arena/version/v1", &change).await.expect(200);
    assert_eq!(
        changed["version"]["envs"],
        json!([{"key": "MODE", "value": null, "is_hidden": true, "is_secret": true}])
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_touches_only_what_it_names_and_post_after_patch_is_a_conflict() {
    let world = World::with_arena().await;
    let before = world.get("/v1/app/arena/version/v1").await.expect(200);
    let changed = world
        .patch("/v1/app/arena/version/v1", &json!({"docker_tag": "2.0", "is_active": null}))
        .await
        .expect(200);
    let mut expected = before;
    expected["docker_tag"] = json!("2.0");
    assert_eq!(changed["version"], expected);
    assert_eq!(world.post("/v1/app/arena/version", &version("v1", "other/image", "9")).await.code, 409);
    assert_eq!(world.get("/v1/app/arena/version/v1").await.expect(200), expected);
    let renamed = world.patch("/v1/app/arena/version/v1", &json!({"name": "v 2"})).await.expect(200);
    assert_eq!(renamed["version"]["name"], "v 2");
    assert_eq!(world.get("/v1/app/arena/version/v%202").await.code, 200);
    let ratio = world.patch("/v1/app/arena/version/v%202", &json!({"req_memory": 4096})).await;
    assert_eq!(ratio.code, 400, "more than twice the stored CPU units");
    assert!(ratio.message().starts_with("req_memory"), "{ratio:?}");
    let deleted = world.delete("/v1/app/arena/version/v%202").await.expect(200);
    assert_eq!(deleted, json!({"success": true}));
    assert_eq!(world.delete("/v1/app/arena/version/v%202").await.code, 404);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_session_settings_is_laid_over_those_that_are_there() {
    let world = World::with_arena().await;
    let path = "/v1/app/arena/version/v1";
    let refused = world.patch(path, &json!({"session_config": {"sockets": 5}})).await;
    assert_eq!((refused.code, refused.message().as_str()), (400, "session_config.kind: is missing"));
    let settings = json!({"kind": "Seat", "sockets": 10, "autodeploy": true, "empty_ttl": 5});
    world.patch(path, &json!({"session_config": settings})).await.expect(200);
    let changed =
        world.patch(path, &json!({"session_config": {"sockets": 5, "empty_ttl": null}})).await.expect(200);
    assert_eq!(
        changed["version"]["session_config"],
        json!({"kind": "Seat", "sockets": 5, "autodeploy": true, "empty_ttl": null, "session_max_duration": 60})
    );
    world.patch(path, &json!({"session_config": null})).await.expect(200);
    assert_eq!(world.get(path).await.expect(200)["session_config"], Value::Null);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404() {
    let world = World::with_arena().await;
    assert_eq!(world.get("/v1/app/nobody").await.code, 404);
    assert_eq!(world.patch("/v1/app/nobody", &json!({})).await.code, 404);
    assert_eq!(world.get("/v1/app/nobody/versions").await.code, 404);
    assert_eq!(world.post("/v1/app/nobody/version", &version("v1", "a/b", "1")).await.code, 404);
    assert_eq!(world.get("/v1/app/arena/version/v9").await.code, 404);
    assert_eq!(world.patch("/v1/app/arena/version/v9", &json!({})).await.code, 404);
    assert_eq!(world.get("/v1/app/a%2Fb").await.code, 404);
    world.end().await;
}
