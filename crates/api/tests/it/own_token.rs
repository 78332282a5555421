//! What a container may do with its own tokens: stop itself, ask for its context, tag itself.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use spawnpoint_engine::callback::{Purpose, number, token};

use crate::schemas::check_v1;
use crate::world::{ADMIN, Answer, World, vault};

/// The address and the token that are injected into a container.
fn injected(purpose: Purpose, id: &str) -> (String, String) {
    let vault = vault();
    let parsed = id.parse().unwrap();
    let number = number(&vault, purpose, parsed);
    let path = match purpose {
        Purpose::SelfStop => format!("/v1/self/stop/{id}/{number}"),
        Purpose::Context => format!("/v1/context/{id}/{number}"),
    };
    (path, token(&vault, purpose, parsed))
}

async fn call(
    world: &World,
    router: &Router,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    world.send_to(router, request.body(body).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_asks_for_its_context_and_tags_itself() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let (path, token) = injected(Purpose::Context, &id);
    for router in [&world.router, &world.callbacks] {
        let context = call(&world, router, Method::GET, &path, Some(&token), None).await.expect(200);
        check_v1("Deployment", &context);
        assert_eq!((&context["status"], &context["ready"]), (&json!("Status.READY"), &json!(true)));
        assert_eq!(context["ports"]["game"]["internal"], 7777);
    }
    let tags = format!("{path}/tags");
    let post = |name: &'static str| {
        call(&world, &world.callbacks, Method::POST, &tags, Some(&token), Some(json!({"name": name})))
    };
    let tag = post("map one").await.expect(200);
    check_v1("ContextDeploymentTagResponse", &tag);
    assert_eq!(tag["name"], "map one");
    assert_eq!(post("map one").await.code, 409);
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["tags"], json!(["map one"]));
    let one = format!("{tags}/map%20one");
    let deleted = call(&world, &world.callbacks, Method::DELETE, &one, Some(&token), None).await;
    assert_eq!((deleted.code, deleted.text.as_str()), (204, ""));
    assert_eq!(call(&world, &world.callbacks, Method::DELETE, &one, Some(&token), None).await.code, 404);
    for bad in [
        json!({}),
        json!({"name": 5}),
        json!({"name": ""}),
        json!({"name": "x".repeat(41)}),
        json!({"name": "a\u{0}"}),
    ] {
        let refused = call(&world, &world.callbacks, Method::POST, &tags, Some(&token), Some(bad)).await;
        assert_eq!(refused.code, 400);
        assert!(refused.message().starts_with("name"), "{refused:?}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_stops_itself() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let (path, token) = injected(Purpose::SelfStop, &id);
    let stopped = call(&world, &world.callbacks, Method::DELETE, &path, Some(&token), None).await.expect(200);
    check_v1("Delete", &stopped);
    world.until(&id, "TERMINATED").await;
    assert_eq!(call(&world, &world.callbacks, Method::DELETE, &path, Some(&token), None).await.code, 410);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_open_one_door_of_one_deployment() {
    let world = World::with_arena().await;
    let (id, other) = (world.deploy_ready("v1").await, world.deploy_ready("v1").await);
    let (stop_path, stop_token) = injected(Purpose::SelfStop, &id);
    let (context_path, context_token) = injected(Purpose::Context, &id);
    let (_, other_stop) = injected(Purpose::SelfStop, &other);
    let (_, other_context) = injected(Purpose::Context, &other);
    let nobody = injected(Purpose::Context, "000000000000");
    let tags = format!("{context_path}/tags");
    let name = Some(json!({"name": "x"}));
    for (method, path, token, body, code) in [
        (Method::DELETE, stop_path.as_str(), None, None, 401),
        (Method::DELETE, &stop_path, Some(ADMIN), None, 401),
        (Method::DELETE, &stop_path, Some(other_stop.as_str()), None, 401),
        (Method::DELETE, &stop_path, Some(&context_token), None, 401),
        (Method::DELETE, &stop_path, Some(&stop_token[..31]), None, 401),
        (Method::DELETE, &format!("/v1/self/stop/{id}/0"), Some(&stop_token), None, 403),
        (Method::DELETE, "/v1/self/stop/000000000000/1", Some(&stop_token), None, 401),
        (Method::GET, &context_path, None, None, 401),
        (Method::GET, &context_path, Some(ADMIN), None, 401),
        (Method::GET, &context_path, Some(&other_context), None, 401),
        (Method::GET, &context_path, Some(&stop_token), None, 401),
        (Method::GET, &format!("/v1/context/{id}/0"), Some(&context_token), None, 401),
        (Method::GET, &nobody.0, Some(&nobody.1), None, 401),
        (Method::GET, "/v1/context/nonsense/1", Some(&context_token), None, 401),
        (Method::POST, &tags, None, name.clone(), 401),
        (Method::POST, &tags, Some(&stop_token), name, 401),
        (Method::DELETE, &format!("{tags}/x"), Some(&other_context), None, 401),
    ] {
        let answer = call(&world, &world.router, method.clone(), path, token, body).await;
        assert_eq!(answer.code, code, "{method} {path}: {answer:?}");
        assert!(!answer.message().is_empty());
    }
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.READY");
    for path in ["/v1/apps", &format!("/v1/status/{id}")] {
        let request = Request::get(path).header("authorization", &stop_token).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.code, 401, "a container's token opens nothing else");
    }
    world.end().await;
}
