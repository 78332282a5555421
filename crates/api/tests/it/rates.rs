//! Rate limits over HTTP: 429 with `Retry-After`, by token and by kind of call. (How buckets refill is tested beside them,
//! on a clock of its own.)

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use serde_json::json;
use spawnpoint_api::{ApiConfig, RateLimits};

use crate::schemas::check_v1;
use crate::world::{ADMIN, Answer, World, deployment};

async fn world(rates: RateLimits) -> World {
    World::with(ApiConfig { rates, ..ApiConfig::default() }).await
}

/// Calls until it is refused; on a machine that stands still for a second a bucket may refill meanwhile.
async fn until_limited(call: impl AsyncFn() -> Answer) -> Answer {
    for _ in 0..100 {
        let answer = call().await;
        if answer.code == 429 {
            return answer;
        }
    }
    panic!("no limit was met");
}

fn check_429(answer: &Answer) {
    check_v1("Error", &answer.expect(429));
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_limited_call_is_refused_beyond_its_rate() {
    let world = world(RateLimits { deploy: 1, status: 1, list: 1, hosts: 1, failed_auth: 0 }).await;
    for (method, path, body) in [
        (Method::GET, "/v1/status/000000000000", None),
        (Method::GET, "/v1/deployments", None),
        (Method::GET, "/v2/private-fleets/tournament/hosts", None),
        (Method::POST, "/v2/deployments", Some(deployment("v1"))),
        (Method::POST, "/v1/deploy", Some(json!({"app_name": "arena", "ip_list": ["1.2.3.4"]}))),
    ] {
        check_429(
            &until_limited(async || world.call(method.clone(), path, ADMIN, body.as_ref()).await).await,
        );
    }
    for _ in 0..5 {
        assert_eq!(world.get("/v1/apps").await.code, 200, "the others are not limited");
    }
    world.engine.shut_down(std::time::Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_token_does_not_slow_down_another() {
    let world = world(RateLimits { deploy: 0, status: 1, list: 0, hosts: 0, failed_auth: 0 }).await;
    let other = world.token("read", &[]).await;
    until_limited(async || world.get("/v1/status/000000000000").await).await;
    let answer = world.call(Method::GET, "/v1/status/000000000000", &other, None).await;
    assert_eq!(answer.code, 400, "its own bucket is full");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_means_no_limit() {
    let world = world(RateLimits::off()).await;
    for _ in 0..200 {
        assert_eq!(world.get("/v1/status/000000000000").await.code, 400);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_tokens_is_told_to_wait_and_nobody_else() {
    let world = world(RateLimits { failed_auth: 2, ..RateLimits::off() }).await;
    let from = async |peer: &str, token: &str| {
        let mut request =
            Request::get("/v1/apps").header("authorization", token).body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer.parse::<std::net::SocketAddr>().unwrap()));
        world.send(request).await
    };
    check_429(&until_limited(async || from("203.0.113.9:1", "guess").await).await);
    assert_eq!(from("203.0.113.10:1", "guess").await.code, 401, "another address");
    assert_eq!(from("203.0.113.9:1", ADMIN).await.code, 200, "a good token behind the same address");
    let guess = async || {
        let request = Request::get("/v1/context/000000000000/1").header("authorization", "guess");
        let mut request = request.body(Body::empty()).unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo("203.0.113.11:1".parse::<std::net::SocketAddr>().unwrap()));
        world.send(request).await
    };
    check_429(&until_limited(guess).await);
    world.end().await;
}
