//! Our own calls: tokens, the audit, webhooks that were given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, deployment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_made_shown_once_listed_and_revoked() {
    let world = World::new().await;
    let body = json!({"name": "ci", "scope": "deploy", "apps": ["arena"], "expires_in_seconds": 3600});
    let made = world.post("/spawnpoint/v1/tokens", &body).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    let made = made.expect(201);
    let (id, secret) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!((&made["scope"], &made["apps"]), (&json!("deploy"), &json!(["arena"])));
    assert_eq!(made["expires_at"], "2026-09-21T15:13:20.000000Z");
    assert_eq!(world.call(Method::GET, "/v1/apps", secret, None).await.code, 200);
    let list = world.get("/spawnpoint/v1/tokens").await;
    assert!(!list.text.contains(secret));
    let shown =
        list.expect(200)["tokens"].as_array().unwrap().iter().find(|t| t["id"] == id).cloned().unwrap();
    assert_eq!(shown["revoked_at"], Value::Null);
    let path = format!("/spawnpoint/v1/tokens/{id}");
    assert_eq!(world.delete(&path).await.code, 204);
    assert_eq!(world.call(Method::GET, "/v1/apps", secret, None).await.code, 401, "refused at the next call");
    assert_eq!(world.delete(&path).await.code, 404);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_ends_when_it_expires() {
    let world = World::new().await;
    let body = json!({"name": "short", "scope": "read", "expires_in_seconds": 60});
    let made = world.post("/spawnpoint/v1/tokens", &body).await.expect(201);
    let secret = made["token"].as_str().unwrap();
    assert_eq!(world.call(Method::GET, "/v1/apps", secret, None).await.code, 200);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.call(Method::GET, "/v1/apps", secret, None).await.code, 401);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_are_named_and_not_made() {
    let world = World::new().await;
    let before = world.get("/spawnpoint/v1/tokens").await.expect(200);
    let refused =
        world.post("/spawnpoint/v1/tokens", &json!({"name": "", "scope": "root", "apps": [1]})).await;
    let details = refused.expect(400)["details"].clone();
    assert_eq!(details.as_object().unwrap().keys().collect::<Vec<_>>(), ["apps[0]", "name", "scope"]);
    assert_eq!(world.get("/spawnpoint/v1/tokens").await.expect(200), before);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_names_each_invariant_and_counts_its_violations() {
    let world = World::with_arena().await;
    world.deploy_ready("v1").await;
    let audit = world.get("/spawnpoint/v1/audit").await.expect(200);
    let invariants = audit["invariants"].as_array().unwrap();
    assert!(invariants.len() > 3);
    assert!(
        invariants.iter().all(|i| i["id"].is_string() && i["rule"].is_string() && i["violations"].is_array())
    );
    assert_eq!(audit["violation_count"], 0);
    world.end().await;
}

/// A receiver of webhooks that refuses them until it is told otherwise.
async fn receiver() -> (String, Arc<AtomicBool>, Arc<AtomicUsize>) {
    let (accepts, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (willing, count) = (accepts.clone(), accepted.clone());
    let router = axum::Router::new().fallback(async move || {
        if willing.load(Ordering::SeqCst) {
            count.fetch_add(1, Ordering::SeqCst);
            StatusCode::NO_CONTENT
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, accepts, accepted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_was_given_up_is_listed_and_sent_again_on_demand() {
    let world = World::with_arena().await;
    // It must outlive all tries of the webhook.
    world.patch("/v1/app/arena/version/v1", &json!({"max_duration": 0})).await.expect(200);
    let (url, accepts, accepted) = receiver().await;
    let mut body = deployment("v1");
    body["webhook_on_ready"] = json!({"url": url});
    let id = world.post("/v2/deployments", &body).await.expect(202)["request_id"].clone();
    world.until(id.as_str().unwrap(), "READY").await;
    let mut dead = Value::Null;
    for _ in 0..1000 {
        world.clock.advance(Duration::from_secs(600));
        dead = world.get("/spawnpoint/v1/webhooks/dead").await.expect(200);
        if dead["total_count"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let delivery = &dead["deliveries"][0];
    assert_eq!((&delivery["request_id"], &delivery["event"]), (&id, &json!("ready")), "{dead}");
    assert!(delivery["attempts"].as_u64().unwrap() > 1 && delivery["last_error"].is_string());
    assert!(delivery["created_at"].as_str().unwrap().ends_with('Z'));
    accepts.store(true, Ordering::SeqCst);
    let path = format!("/spawnpoint/v1/webhooks/dead/{}:replay", delivery["id"].as_str().unwrap());
    assert_eq!(world.post(&path, &json!({})).await.code, 204);
    for _ in 0..1000 {
        if accepted.load(Ordering::SeqCst) > 0 {
            break;
        }
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
    assert_eq!(world.get("/spawnpoint/v1/webhooks/dead").await.expect(200)["total_count"], 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_that_were_given_up_are_listed_and_unknown_ones_cannot_be_replayed() {
    let world = World::new().await;
    let list = world.get("/spawnpoint/v1/webhooks/dead").await.expect(200);
    assert_eq!((&list["deliveries"], &list["total_count"]), (&json!([]), &json!(0)));
    assert_eq!(world.post("/spawnpoint/v1/webhooks/dead/nobody:replay", &json!({})).await.code, 404);
    assert_eq!(world.post("/spawnpoint/v1/webhooks/dead/nobody:forget", &json!({})).await.code, 404);
    world.end().await;
}
