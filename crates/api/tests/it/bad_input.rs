//! What is wrong with a body is named, field by field, in JSON, and nothing is created. (Each reader has its own table of
//! fields beside it; here the tables go through HTTP.)

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::schemas::{check_openapi, check_v1};
use crate::world::{ADMIN, Answer, World, deployment, version};

async fn raw(world: &World, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header("authorization", ADMIN);
    let request =
        if let Some(value) = content_type { request.header("content-type", value) } else { request };
    world.send(request.body(body.into()).unwrap()).await
}

/// `body` with the field at `path` (dots and indices) set to `value`, or removed.
fn changed(body: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut body = body.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(object), Some(value)) => drop(object.insert(key.to_owned(), value)),
        (Value::Object(object), None) => drop(object.remove(key)),
        (Value::Array(items), Some(value)) => items[key.parse::<usize>().unwrap()] = value,
        (parent, value) => panic!("{pointer} cannot be {value:?} in {parent}"),
    }
    body
}

/// `/users/0/user_type` as errors write it: `users[0].user_type`.
fn as_field(pointer: &str) -> String {
    let mut field = String::new();
    for step in pointer.split('/').skip(1) {
        match step.parse::<usize>() {
            Ok(index) => field.push_str(&format!("[{index}]")),
            Err(_) if field.is_empty() => field.push_str(step),
            Err(_) => field.push_str(&format!(".{step}")),
        }
    }
    field
}

/// Values that no text field takes.
fn no_texts() -> Vec<Value> {
    vec![
        json!(5),
        json!(true),
        json!([]),
        json!({}),
        json!("a\u{0}b"),
        json!("\u{1b}[31m"),
        json!("\u{202e}"),
        json!("x".repeat(9000)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_text_of_a_v2_deploy_is_checked() {
    let world = World::with_arena().await;
    let mut body = deployment("v1");
    body["users"] = json!([{"user_type": "ip_address", "user_data": {"ip_address": "1.2.3.4"}}]);
    body["environment_variables"] = json!([{"key": "A", "value": "1", "is_hidden": false}]);
    body["tags"] = json!(["eu"]);
    for hook in ["webhook_on_ready", "webhook_on_error", "webhook_on_terminated"] {
        body[hook] = json!({"url": "http://127.0.0.1:9/"});
    }
    for pointer in [
        "/application",
        "/version",
        "/users/0/user_type",
        "/users/0/user_data/ip_address",
        "/environment_variables/0/key",
        "/tags/0",
        "/webhook_on_ready/url",
        "/webhook_on_error/url",
        "/webhook_on_terminated/url",
    ] {
        for bad in no_texts() {
            let answer = world.post("/v2/deployments", &changed(&body, pointer, Some(bad.clone()))).await;
            let error = answer.expect(400);
            check_openapi("deploy-v2.json", "/deployments", 400, &error);
            let field = as_field(pointer);
            assert!(error["details"][&field].is_string(), "{field} {bad:.30}: {error}");
            assert!(error["message"].as_str().unwrap().contains(&field));
            assert!(
                !answer.text.contains("\\u001b") && !answer.text.contains('\u{202e}'),
                "nothing is repeated: {answer:?}"
            );
        }
    }
    assert_eq!(world.count().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn required_fields_are_named_when_they_are_missing() {
    let world = World::with_arena().await;
    let v1 = json!({"app_name": "arena", "geo_ip_list": [{"ip": "1.2.3.4", "latitude": 1, "longitude": 2}]});
    let app = json!({"name": "new", "is_active": true, "image": ""});
    let version = version("new", "a/b", "1");
    for (path, body, pointers) in [
        (
            "/v2/deployments",
            deployment("v1"),
            &["/application", "/version", "/users", "/users/0/user_type", "/users/0/user_data"][..],
        ),
        (
            "/v1/deploy",
            v1,
            &["/app_name", "/geo_ip_list/0/ip", "/geo_ip_list/0/latitude", "/geo_ip_list/0/longitude"],
        ),
        ("/v1/app", app, &["/name", "/is_active", "/image"]),
        (
            "/v1/app/arena/version",
            version,
            &[
                "/name",
                "/docker_repository",
                "/docker_image",
                "/docker_tag",
                "/req_cpu",
                "/req_memory",
                "/ports/0/protocol",
            ],
        ),
        (
            "/v1/deployments/bulk-stop",
            json!({"filters": [{"field": "request_id", "values": ["x"], "filter_type": "not"}]}),
            &["/filters", "/filters/0/field", "/filters/0/values", "/filters/0/filter_type"],
        ),
        (
            "/v1/deployments:available",
            json!({"app_name": "arena", "app_version": "v1"}),
            &["/app_name", "/app_version"],
        ),
        ("/v1/ips/lookup", json!({"addresses": ["1.2.3.4"]}), &["/addresses"]),
        (
            "/v1/telemetry/active-deployments",
            json!({"deployments": ["0123456789ab"], "ips": ["1.2.3.4"]}),
            &["/deployments", "/ips"],
        ),
        ("/v1/deployments/0123456789ab:report", json!({"reason": "lag"}), &["/reason"]),
        ("/v1/deployments/0123456789ab/tags", json!({"name": "eu"}), &["/name"]),
    ] {
        for pointer in pointers {
            for missing in [None, Some(Value::Null)] {
                let answer = world.post(path, &changed(&body, pointer, missing)).await;
                check_v1("Error", &answer.expect(400));
                assert!(answer.message().contains(&as_field(pointer)), "{path} {pointer}: {answer:?}");
            }
        }
    }
    assert_eq!(world.count().await, 0);
    assert_eq!(world.get("/v1/apps").await.expect(200)["total_count"], 1);
    assert_eq!(world.get("/v1/app/arena/versions").await.expect(200)["total_count"], 1);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_a_json_object_is_refused_everywhere() {
    let world = World::with_arena().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000 / 6), "}".repeat(100_000 / 6));
    let bodies: [&str; 12] = [
        "",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{",
        "{\"a\":1e999}",
        "{\"a\":NaN}",
        "{\"a\":\"\\ud800\"}",
        "\u{feff}{}",
        "{'a':1}",
        &deep,
    ];
    for path in [
        "/v2/deployments",
        "/v1/deploy",
        "/v1/app",
        "/v1/app/arena/version",
        "/v1/deployments/bulk-stop",
        "/v1/deployments:available",
        "/v1/ips/lookup",
        "/v1/telemetry/active-deployments",
        "/v1/deployments/0123456789ab:report",
        "/v1/deployments/0123456789ab/tags",
        "/v1/session",
        "/v1/sessions/bulk-stop",
        "/v1/deployment/0123456789ab/custom/session/a",
        "/v1/deployment/0123456789ab/custom/sessions",
        "/v1/fleet",
        "/v1/fleet/all/policies",
        "/spawnpoint/v1/tokens",
    ] {
        for body in bodies {
            let answer = raw(&world, path, Some("application/json"), body.to_owned()).await;
            assert_eq!(answer.code, 400, "{path} {body:.40?}");
            assert!(answer.message().starts_with("the body"), "{answer:?}");
        }
        let answer =
            raw(&world, path, Some("application/json"), vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']).await;
        assert_eq!(answer.code, 400, "not UTF-8");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded() {
    let world = World::with_arena().await;
    for (path, limit) in [
        ("/v2/deployments", 256 * 1024),
        ("/v1/deploy", 256 * 1024),
        ("/v1/app", 1024 * 1024),
        ("/v1/app/arena/version", 1024 * 1024),
        ("/v1/deployments/bulk-stop", 256 * 1024),
        ("/v1/deployments:available", 256 * 1024),
        ("/v1/ips/lookup", 256 * 1024),
        ("/v1/telemetry/active-deployments", 256 * 1024),
        ("/v1/deployments/0123456789ab:report", 256 * 1024),
        ("/v1/deployments/0123456789ab/tags", 256 * 1024),
        ("/v1/session", 256 * 1024),
        ("/v1/sessions/bulk-stop", 256 * 1024),
        ("/v1/deployment/0123456789ab/custom/sessions", 256 * 1024),
        ("/v1/fleet/all/policies", 256 * 1024),
    ] {
        let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(limit));
        let stream = futures_util::stream::iter(
            body.clone().into_bytes().chunks(8192).map(<[u8]>::to_vec).collect::<Vec<_>>(),
        );
        let chunked =
            Body::from_stream(futures_util::StreamExt::map(stream, Ok::<_, std::convert::Infallible>));
        for body in [Body::from(body), chunked] {
            let answer = raw(&world, path, Some("application/json"), body).await;
            check_v1("Error", &answer.expect(413));
        }
        let fits = format!("{{\"pad\":\"{}\"}}", "x".repeat(limit - 100));
        assert_eq!(raw(&world, path, None, fits).await.code, 400, "{path}: read, and found wanting");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_content_type_must_be_json_or_absent() {
    let world = World::with_arena().await;
    let body = json!({"name": "x", "is_active": true, "image": ""});
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
    ] {
        let answer = raw(&world, "/v1/app", Some(bad), body.to_string()).await;
        check_v1("Error", &answer.expect(415));
        assert!(answer.message().contains("application/json"));
    }
    assert_eq!(world.get("/v1/app/x").await.code, 404);
    assert_eq!(raw(&world, "/v1/app", None, body.to_string()).await.code, 200);
    let charset = raw(&world, "/v1/app", Some("application/json; charset=UTF-8"), body.to_string()).await;
    assert_eq!(charset.code, 409, "it was understood");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_in_paths_find_nothing_and_break_nothing() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    for name in [
        "%00",
        "%1b%5b31m",
        "..%2f..",
        "%252e",
        "%e2%80%ae",
        "%c0%af",
        "a%27%3b--",
        "%25",
        "x".repeat(5000).as_str(),
    ] {
        for (method, path) in [
            (Method::GET, format!("/v1/app/{name}")),
            (Method::PATCH, format!("/v1/app/{name}")),
            (Method::DELETE, format!("/v1/app/{name}")),
            (Method::GET, format!("/v1/app/arena/version/{name}")),
            (Method::DELETE, format!("/v1/app/arena/version/{name}")),
            (Method::GET, format!("/v1/app/{name}/versions")),
            (Method::GET, format!("/v1/deployment/{name}/container-logs")),
            (Method::GET, format!("/v2/deployments/{name}/events")),
            (Method::GET, format!("/v2/deployments/{name}/logs?follow=true")),
            (Method::DELETE, format!("/spawnpoint/v1/tokens/{name}")),
            (Method::GET, format!("/v1/ip/{name}/lookup")),
            (Method::GET, format!("/v1/telemetry/active-deployments/{name}")),
            (Method::GET, format!("/v1/deployments/{name}/tags")),
            (Method::PATCH, format!("/v1/deployments/{name}")),
            (Method::GET, format!("/v1/deployments/{id}/tags/{name}")),
            (Method::PATCH, format!("/v1/deployments/{id}/tags/{name}")),
            (Method::DELETE, format!("/v1/deployments/{id}/tags/{name}")),
            (Method::GET, format!("/v1/session/{name}")),
            (Method::DELETE, format!("/v1/session/{name}")),
            (Method::GET, format!("/v1/deployment/{id}/custom/session/{name}")),
            (Method::DELETE, format!("/v1/deployment/{id}/custom/session/{name}")),
            (Method::GET, format!("/v1/fleet/{name}")),
            (Method::PATCH, format!("/v1/fleet/{name}")),
            (Method::DELETE, format!("/v1/fleet/all/policies/{name}")),
            (Method::DELETE, format!("/v1/fleet/all/app/arena/version/{name}")),
        ] {
            let body = (method == Method::PATCH).then(|| json!({}));
            let answer = world.call(method.clone(), &path, ADMIN, body.as_ref()).await;
            assert!([400, 404].contains(&answer.code), "{method} {path:.60}: {answer:?}");
            assert!(!answer.message().is_empty());
        }
    }
    world.end().await;
}
