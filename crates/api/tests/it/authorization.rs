//! Who may do what: every operation by every kind of token, and every spelling of the header.

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Method, Request};
use serde_json::{Value, json};

use crate::world::{ADMIN, World, deployment, version};

/// The least scope of an operation.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
enum Needs {
    Nothing,
    Read,
    Deploy,
    Admin,
}

/// Every operation that takes an API token, on things that are there, and what it needs. `{id}` is a ready deployment.
fn operations() -> Vec<(Method, &'static str, Option<Value>, Needs)> {
    let app = || json!({"name": "made", "is_active": true, "image": ""});
    let v1 = json!({"app_name": "arena", "ip_list": ["1.2.3.4"]});
    vec![
        (Method::GET, "/monitor", None, Needs::Nothing),
        (Method::GET, "/v1/apps", None, Needs::Read),
        (Method::GET, "/v1/app/arena", None, Needs::Read),
        (Method::GET, "/v1/app/arena/versions", None, Needs::Read),
        (Method::GET, "/v1/app/arena/version/v1", None, Needs::Read),
        (Method::GET, "/v1/deployments", None, Needs::Read),
        (Method::GET, "/v1/status/{id}", None, Needs::Read),
        (Method::GET, "/v1/ip", None, Needs::Read),
        (Method::GET, "/v1/wizard/registry-credentials", None, Needs::Read),
        (Method::POST, "/v1/wizard/init-quick-start", Some(json!({"source": "unity"})), Needs::Read),
        (Method::POST, "/v2/deployments", Some(deployment("v1")), Needs::Deploy),
        (Method::POST, "/v1/deploy", Some(v1), Needs::Deploy),
        (Method::GET, "/v1/deployments/{id}/tags", None, Needs::Read),
        (Method::GET, "/v1/deployments/{id}/tags/eu", None, Needs::Read),
        (Method::POST, "/v1/deployments:available", Some(named("arena")), Needs::Read),
        (Method::POST, "/v1/deployments/{id}/tags", Some(json!({"name": "us"})), Needs::Deploy),
        (Method::PATCH, "/v1/deployments/{id}/tags/eu", Some(json!({"name": "us"})), Needs::Deploy),
        (Method::DELETE, "/v1/deployments/{id}/tags/eu", None, Needs::Deploy),
        (Method::PATCH, "/v1/deployments/{id}", Some(json!({"is_joinable_by_session": true})), Needs::Deploy),
        (Method::POST, "/v1/deployments/{id}:report", Some(json!({"reason": "lag"})), Needs::Deploy),
        (Method::POST, "/v1/deployments/bulk-stop", Some(all_but("0123456789ab")), Needs::Deploy),
        (Method::DELETE, "/v1/stop/{id}", None, Needs::Deploy),
        (Method::POST, "/v1/app", Some(app()), Needs::Admin),
        (Method::PATCH, "/v1/app/arena", Some(json!({"is_active": true})), Needs::Admin),
        (Method::POST, "/v1/app/arena/version", Some(version("v2", "a/b", "1")), Needs::Admin),
        (Method::PATCH, "/v1/app/arena/version/v1", Some(json!({"is_active": true})), Needs::Admin),
        (Method::DELETE, "/v1/app/arena/version/v1", None, Needs::Admin),
        (Method::DELETE, "/v1/app/arena", None, Needs::Admin),
        (Method::GET, "/spawnpoint/v1/tokens", None, Needs::Admin),
        (Method::POST, "/spawnpoint/v1/tokens", Some(json!({"name": "t", "scope": "admin"})), Needs::Admin),
        (Method::DELETE, "/spawnpoint/v1/tokens/nobody", None, Needs::Admin),
        (Method::GET, "/spawnpoint/v1/audit", None, Needs::Admin),
        (Method::GET, "/spawnpoint/v1/webhooks/dead", None, Needs::Admin),
        (Method::POST, "/spawnpoint/v1/webhooks/dead/nobody:replay", Some(json!({})), Needs::Admin),
    ]
}

/// Asks for deployments with room.
fn named(app: &str) -> Value {
    json!({"app_name": app, "app_version": "v1"})
}

/// A bulk stop of everything but one.
fn all_but(id: &str) -> Value {
    json!({"filters": [{"field": "request_id", "values": [id], "filter_type": "not"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_may_not_do_is_403_and_without_one_it_is_401() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let revoked = world.token("admin", &[]).await;
    let listed = world.get("/spawnpoint/v1/tokens").await.expect(200);
    let last =
        listed["tokens"].as_array().unwrap().iter().find(|t| t["name"] == "admin []").unwrap()["id"].clone();
    world.delete(&format!("/spawnpoint/v1/tokens/{}", last.as_str().unwrap())).await;
    let kinds = [
        ("unknown", "0123456789abcdef".to_owned(), Needs::Nothing, 401),
        ("revoked", revoked, Needs::Nothing, 401),
        ("read", world.token("read", &[]).await, Needs::Read, 403),
        ("deploy", world.token("deploy", &[]).await, Needs::Deploy, 403),
    ];
    for (method, path, body, needs) in operations() {
        let path = path.replace("{id}", &id);
        let anonymous = Request::builder().method(method.clone()).uri(&path).body(Body::from("{}")).unwrap();
        let answer = world.send(anonymous).await;
        assert_eq!(
            answer.code == 401,
            needs != Needs::Nothing,
            "{method} {path} without a token: {answer:?}"
        );
        for (kind, secret, may, refusal) in &kinds {
            if needs > *may {
                let answer = world.call(method.clone(), &path, secret, body.as_ref()).await;
                assert_eq!(answer.code, *refusal, "{method} {path} with {kind}: {answer:?}");
                assert!(!answer.message().is_empty());
            }
        }
    }
    assert_eq!(world.count().await, 1, "nothing of that did anything");
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.READY");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_token_may_do_works() {
    let world = World::with_arena().await;
    let secrets = [world.token("read", &[]).await, world.token("deploy", &[]).await, ADMIN.to_owned()];
    for (method, path, body, needs) in operations() {
        let secret = match needs {
            Needs::Nothing | Needs::Read => &secrets[0],
            Needs::Deploy => &secrets[1],
            Needs::Admin => &secrets[2],
        };
        let path = if path.contains("{id}") {
            path.replace("{id}", &world.deploy_ready("v1").await)
        } else {
            path.to_owned()
        };
        let answer = world.call(method.clone(), &path, secret, body.as_ref()).await;
        assert!(![401, 403, 429, 500].contains(&answer.code), "{method} {path}: {answer:?}");
    }
    world.end().await;
}

/// What is asked about and done to a deployment of another's application, and how that is refused.
fn foreign_operations(foreign: &str) -> Vec<(Method, String, Option<Value>, u16)> {
    let tags = format!("/v1/deployments/{foreign}/tags");
    let name = || Some(json!({"name": "us"}));
    let joinable = Some(json!({"is_joinable_by_session": true}));
    vec![
        (Method::GET, format!("/v1/status/{foreign}"), None, 400),
        (Method::GET, tags.clone(), None, 404),
        (Method::GET, format!("{tags}/eu"), None, 404),
        (Method::POST, tags.clone(), name(), 404),
        (Method::PATCH, format!("{tags}/eu"), name(), 404),
        (Method::DELETE, format!("{tags}/eu"), None, 404),
        (Method::PATCH, format!("/v1/deployments/{foreign}"), joinable, 404),
        (Method::POST, format!("/v1/deployments/{foreign}:report"), Some(json!({"reason": "lag"})), 403),
        (Method::DELETE, format!("/v1/stop/{foreign}"), None, 403),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_token_sees_and_touches_its_application_alone() {
    let world = World::with_arena().await;
    world.create_app("other").await;
    world.create_version("other", "v1", "fake/game", "ok").await;
    let mut body = deployment("v1");
    body["application"] = json!("other");
    let foreign =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    world.until(&foreign, "READY").await;
    let own = world.deploy_ready("v1").await;
    let (reader, deployer) = (world.token("read", &["arena"]).await, world.token("deploy", &["arena"]).await);
    let admin = world.token("admin", &["arena"]).await;

    let list = world.call(Method::GET, "/v1/deployments", &reader, None).await.expect(200);
    assert_eq!((&list["total_count"], &list["data"][0]["request_id"]), (&json!(1), &json!(own)));
    let apps = world.call(Method::GET, "/v1/apps", &reader, None).await.expect(200);
    assert_eq!((&apps["total_count"], &apps["applications"][0]["name"]), (&json!(1), &json!("arena")));
    for (method, path, body, code) in foreign_operations(&foreign) {
        let answer = world.call(method.clone(), &path, &deployer, body.as_ref()).await;
        assert_eq!(answer.code, code, "{method} {path}: {answer:?}");
    }
    for (method, path, secret, body, codes) in [
        (Method::GET, "/v1/app/other".to_owned(), &reader, None, &[403, 404][..]),
        (Method::POST, "/v1/deployments:available".to_owned(), &reader, Some(named("other")), &[403]),
        (Method::GET, "/v1/app/other/versions".to_owned(), &reader, None, &[403, 404]),
        (Method::GET, "/v1/app/other/version/v1".to_owned(), &reader, None, &[403, 404]),
        (Method::POST, "/v2/deployments".to_owned(), &deployer, Some(body), &[403]),
        (Method::PATCH, "/v1/app/other".to_owned(), &admin, Some(json!({"is_active": false})), &[403, 404]),
        (Method::DELETE, "/v1/app/other".to_owned(), &admin, None, &[403, 404]),
        (Method::DELETE, "/v1/app/other/version/v1".to_owned(), &admin, None, &[403, 404]),
        (
            Method::POST,
            "/v1/app".to_owned(),
            &admin,
            Some(json!({"name": "new", "is_active": true, "image": ""})),
            &[403],
        ),
        (
            Method::POST,
            "/spawnpoint/v1/tokens".to_owned(),
            &admin,
            Some(json!({"name": "t", "scope": "admin"})),
            &[403],
        ),
    ] {
        let answer = world.call(method.clone(), &path, secret, body.as_ref()).await;
        assert!(codes.contains(&answer.code), "{method} {path}: {answer:?}");
    }
    world.call(Method::DELETE, &format!("/v1/stop/{own}"), &deployer, None).await.expect(200);
    assert_eq!(
        world.get(&format!("/v1/status/{foreign}")).await.expect(200)["current_status"],
        "Status.READY"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_header_is_understood_in_every_spelling_in_use() {
    let world = World::new().await;
    let with = async |values: &[String]| {
        let mut request = Request::get("/v1/apps").body(Body::empty()).unwrap();
        for value in values {
            request.headers_mut().append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        world.send(request).await
    };
    for good in [
        "token X",
        "Token X",
        "TOKEN X",
        "Bearer X",
        "bearer X",
        "X",
        "token token X",
        "token  X",
        " token X ",
    ] {
        assert_eq!(with(&[good.replace('X', ADMIN)]).await.code, 200, "{good:?}");
    }
    let long = "x".repeat(8192);
    for bad in
        ["", "token", "Basic X", "token X X", "token\tX", "token X\t", "token Xx", "token \u{e9}X", &long]
    {
        let answer = with(&[bad.replace('X', ADMIN)]).await;
        assert_eq!(answer.code, 401, "{bad:.40?}");
        assert!(!answer.text.contains(ADMIN));
    }
    let twice = format!("token {ADMIN}");
    assert_eq!(with(&[twice.clone(), twice]).await.code, 401);
    assert_eq!(with(&[]).await.headers["www-authenticate"], "token");
    world.end().await;
}
