//! Images in a real registry with a login: looked for when a version is made, pulled ahead of time, asked for by deployments
//! that want cached images only; and everything that can be wrong with a registry.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, lay_over, text};
use spawnpoint_compat::registry::{PASSWORD, Registry, USERNAME};
use spawnpoint_compat::{Api, PATIENCE, Runtime, Server, eventually, game, server};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    force_cache_brings_an_image_to_the_hosts_and_cached_deployments_go_there,
    a_private_image_that_cannot_be_pulled_is_an_error_that_says_why,
);

fn version(name: &str, registry: &str, fields: &Value) -> Value {
    let mut body = json!({
        "name": name, "is_active": true, "docker_repository": registry, "docker_image": "studio/arena",
        "docker_tag": "v1", "req_cpu": 128, "req_memory": 128, "private_username": USERNAME,
        "private_token": PASSWORD,
        "ports": [{"name": "game", "port": 7777, "protocol": "UDP", "to_check": true}],
    });
    lay_over(&mut body, fields);
    body
}

fn app(api: &Api) {
    let _ = api.post("/v1/app", &json!({"name": "arena", "is_active": true, "image": ""})).expect(200);
}

#[test]
fn verify_image_asks_the_registry_before_a_version_is_stored() {
    let Some(mut registry) = Registry::start() else { return };
    let game = game::build();
    registry.push(&game, "studio/arena", "v1");
    let server = Server::start(server::fake);
    let api = &server.api;
    app(api);
    let create = |name: &str, registry: &str, fields: &Value| {
        let mut body = version(name, registry, fields);
        body["verify_image"] = json!(true);
        api.post("/v1/app/arena/version", &body)
    };
    let good = create("good", &registry.address, &json!({})).expect(200);
    assert_eq!(good["version"]["verify_image"], true);
    let refused = [
        ("missing tag", json!({"docker_tag": "v2"}), 424, "Unable to pull image from registry"),
        ("missing image", json!({"docker_image": "studio/none"}), 424, "Unable to pull image from registry"),
        (
            "wrong password",
            json!({"private_token": "wrong"}),
            400,
            "Unable to login with the given credentials",
        ),
        (
            "no login",
            json!({"private_username": null, "private_token": null}),
            424,
            "Unable to pull image from registry",
        ),
        ("unreachable", json!({"docker_repository": "127.0.0.1:9999"}), 424, "did not answer"),
        ("metadata", json!({"docker_repository": "169.254.169.254"}), 400, "docker_repository"),
    ];
    for (what, fields, code, message) in &refused {
        let started = Instant::now();
        let answer = create(what, &registry.address, fields);
        assert_eq!(answer.status, *code, "{what}: {}", answer.text());
        let said = text(&answer.json(), "message");
        assert!(said.contains(message) && !said.contains(PASSWORD), "{what}: {said}");
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: {:?}", started.elapsed());
        assert_eq!(api.get(&format!("/v1/app/arena/version/{}", what.replace(' ', "%20"))).status, 404);
    }
    // A change is looked at as a new version is; one that does not touch the image is not.
    let path = "/v1/app/arena/version/good";
    assert_eq!(api.patch(path, &json!({"docker_tag": "v2"})).status, 424);
    assert_eq!(api.get(path).expect(200)["docker_tag"], "v1");
    registry.end();
    let _ = api.patch(path, &json!({"req_cpu": 256})).expect(200);
    assert_eq!(api.patch(path, &json!({"docker_tag": "v2"})).status, 424);
    // Without the wish nothing is asked, and a name that is taken is said before.
    let _ = api.post("/v1/app/arena/version", &version("unasked", &registry.address, &json!({}))).expect(200);
    assert_eq!(create("good", &registry.address, &json!({})).status, 409);
    assert!(!server.log().contains(PASSWORD));
    server.audit();
}

fn force_cache_brings_an_image_to_the_hosts_and_cached_deployments_go_there(runtime: &Runtime) {
    let Some(registry) = Registry::start() else { return };
    let game = game::build();
    for tag in ["v1", "v2", "v3"] {
        registry.push(&game, "studio/arena", tag);
    }
    let (mut server, _installation) = runtime.start();
    let api = server.api.clone();
    app(&api);
    let create = |name: &str, fields: &Value| {
        let _ = api.post("/v1/app/arena/version", &version(name, &registry.address, fields)).expect(200);
    };
    let cached = |name: &str| {
        api.get(&format!("/v1/app/arena/version/{name}")).expect(200)["caching_percent"].as_f64().unwrap()
    };
    let only_cached = json!({"require_cached_locations": true});
    create("plain", &json!({}));
    assert_eq!(cached("plain"), 0.0);
    let refused = api.post("/v2/deployments", &deployment("arena", "plain", &only_cached));
    let refused = refused.expect(422);
    assert!(text(&refused, "message").contains("without the image"), "{refused}");
    let _ = api.delete(&format!("/v1/stop/{}", text(&refused, "request_id")));

    create("ahead", &json!({"force_cache": true, "docker_tag": "v2"}));
    eventually("the image is cached", PATIENCE, || (cached("ahead") > 0.99).then_some(()));
    assert_eq!(cached("plain"), 0.0);
    let id = api.deploy("arena", "ahead", &only_cached);
    let _ = api.wait_for(&id, "READY");
    api.stop(&id);

    // Switched on later, and what cannot be had does not hold up the rest.
    create("never", &json!({"force_cache": true, "docker_image": "studio/none"}));
    let _ = api.patch("/v1/app/arena/version/plain", &json!({"force_cache": true})).expect(200);
    eventually("the image is cached", PATIENCE, || (cached("plain") > 0.99).then_some(()));
    assert_eq!(cached("never"), 0.0);

    // An image that was pulled for a deployment is held as well.
    create("pulled", &json!({"docker_tag": "v3"}));
    let id = api.deploy("arena", "pulled", &json!({}));
    let _ = api.wait_for(&id, "READY");
    assert!(cached("pulled") > 0.99);
    api.stop(&id);
    // Across a restart the engine is asked what it holds.
    server.kill();
    server.restart();
    eventually("it knows what its host holds", PATIENCE, || (cached("ahead") > 0.99).then_some(()));
    assert!(!server.log().contains(PASSWORD));
    server.audit();
}

fn a_private_image_that_cannot_be_pulled_is_an_error_that_says_why(runtime: &Runtime) {
    let Some(registry) = Registry::start() else { return };
    let game = game::build();
    registry.push(&game, "studio/arena", "v1");
    let (server, _installation) = runtime.start();
    let api = server.api.clone();
    app(&api);
    for (name, fields) in
        [("wrong", json!({"private_token": "wrong"})), ("missing", json!({"docker_tag": "v9"}))]
    {
        let _ = api.post("/v1/app/arena/version", &version(name, &registry.address, &fields)).expect(200);
        let id = api.deploy("arena", name, &json!({}));
        let failed = eventually("it is in error", PATIENCE, || {
            Some(api.status(&id)).filter(|status| status["current_status"] == "Status.ERROR")
        });
        assert!(text(&failed, "error_detail").contains("image"), "{failed}");
        api.stop(&id);
    }
    server.audit();
}
