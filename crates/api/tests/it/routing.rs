//! Paths and methods: slashes, what is not there, headers on every answer, what containers can reach.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderName, Method, Request};
use serde_json::json;
use spawnpoint_api::{ApiConfig, RateLimits};
use spawnpoint_engine::webhooks::Network;

use crate::schemas::check_v1;
use crate::world::{ADMIN, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slash_at_the_end_changes_nothing() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    for path in
        ["/monitor", "/v1/apps", "/v1/app/arena", "/v1/app/arena/version/v1", "/v1/deployments", "/v1/ip"]
    {
        let (plain, slashed) = (world.get(path).await, world.get(&format!("{path}/")).await);
        assert_eq!((plain.code, &plain.text), (200, &slashed.text), "{path}");
    }
    assert_eq!(world.get(&format!("/v1/status/{id}/")).await.code, 200);
    assert_eq!(world.get("/v1/deployments/?limit=1").await.code, 200);
    assert_eq!(world.delete(&format!("/v1/stop/{id}/?container_log_storage=false")).await.code, 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_404_and_a_wrong_method_405_in_json() {
    let world = World::new().await;
    for path in [
        "/",
        "/v1",
        "/v3/deployments",
        "/v1/status",
        "/v1/deployments:unavailable",
        "/v1//apps",
        "/%00",
        "/v1/self/stop/x",
    ] {
        let answer = world.get(path).await;
        check_v1("Error", &answer.expect(404));
    }
    for (method, path, allowed) in [
        (Method::DELETE, "/v1/apps", "GET"),
        (Method::POST, "/v1/status/000000000000", "GET"),
        (Method::GET, "/v2/deployments", "POST"),
        (Method::PUT, "/v1/app/arena", "DELETE"),
        (Method::GET, "/v1/stop/000000000000", "DELETE"),
        (Method::GET, "/v1/stop/000000000000/", "DELETE"),
        (Method::GET, "/v1/deployments:available", "POST"),
        (Method::GET, "/v1/deployments/bulk-stop", "POST"),
        (Method::PATCH, "/v1/deployments/bulk-stop", "POST"),
        (Method::GET, "/v1/deployments/000000000000:report", "PATCH"),
    ] {
        let answer = world.call(method.clone(), path, ADMIN, None).await;
        check_v1("Error", &answer.expect(405));
        assert!(answer.headers["allow"].to_str().unwrap().contains(allowed), "{method} {path}: {answer:?}");
    }
    let odd = Request::builder().method("BREW").uri("/v1/apps").body(Body::empty()).unwrap();
    assert_eq!(world.send(odd).await.code, 405);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_keeps_caches_and_browsers_away() {
    let world = World::new().await;
    for path in ["/monitor", "/v1/apps", "/v1/status/x", "/nowhere"] {
        let answer = world.get(path).await;
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        assert_eq!(answer.headers["content-type"], "application/json", "{path}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn monitor_needs_no_token_and_says_when_it_ends() {
    let world = World::new().await;
    let request = || Request::get("/monitor").body(Body::empty()).unwrap();
    let up = world.send(request()).await.expect(200);
    check_v1("Monitor", &up);
    assert_eq!((&up["name"], &up["errors"]), (&json!("Spawnpoint"), &json!([])));
    world.engine.shut_down(std::time::Duration::from_secs(5)).await;
    let down = world.send(request()).await;
    check_v1("Monitor", &down.expect(503));
    assert!(!down.message().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_reach_their_callbacks_and_nothing_else() {
    let world = World::new().await;
    for path in ["/monitor", "/v1/apps", "/v1/status/000000000000", "/spawnpoint/v1/tokens", "/v1/ip"] {
        let request =
            Request::get(path).header("authorization", format!("token {ADMIN}")).body(Body::empty()).unwrap();
        assert_eq!(world.send_to(&world.callbacks, request).await.code, 404, "{path}");
    }
    let request = Request::get("/v1/context/000000000000/1").body(Body::empty()).unwrap();
    assert_eq!(world.send_to(&world.callbacks, request).await.code, 401);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_its_own_address() {
    let config = ApiConfig {
        rates: RateLimits::off(),
        trusted_proxies: vec![Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 }],
        client_address_header: Some(HeaderName::from_static("x-forwarded-for")),
        ..ApiConfig::default()
    };
    let world = World::with(config).await;
    for (peer, forwarded, expected) in [
        ("198.51.100.7:1", None, "198.51.100.7"),
        ("[2001:db8::7]:1", None, "2001:db8::7"),
        ("[::ffff:198.51.100.7]:1", None, "198.51.100.7"),
        ("198.51.100.7:1", Some("1.2.3.4"), "198.51.100.7"),
        ("10.0.0.1:1", Some("6.6.6.6, 1.2.3.4"), "1.2.3.4"),
    ] {
        let mut request = Request::get("/v1/ip").header("authorization", format!("token {ADMIN}"));
        if let Some(value) = forwarded {
            request = request.header("x-forwarded-for", value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer.parse::<std::net::SocketAddr>().unwrap()));
        let answer = world.send(request).await.expect(200);
        check_v1("IPAddressResponse", &answer);
        assert_eq!(answer, json!({"public_ip": expected}));
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wizard_accepts_valid_tokens_and_gives_out_the_configured_registry() {
    let world = World::new().await;
    let init = world.post("/v1/wizard/init-quick-start", &json!({"source": "unity"})).await;
    assert_eq!((init.code, init.text.as_str()), (204, ""));
    assert_eq!(world.get("/v1/wizard/registry-credentials").await.code, 404);
    world.end().await;

    let world = World::with_registry("registry.example.com").await;
    let answer = world.get("/v1/wizard/registry-credentials").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let expected = json!({
        "registry_url": "registry.example.com", "project": "studio", "username": "robot$studio", "token": "push-me"
    });
    assert_eq!(answer.expect(200), expected);
    world.end().await;
}
