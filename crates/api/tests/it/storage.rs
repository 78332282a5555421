//! Endpoint storages and pull profiles over HTTP: shapes, codes, pages, names that do not exist, and a secret that is never
//! answered.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{ADMIN, World};

const SECRET: &str = "canary-s3-secret-0c77";
const BASE: &str = "/v1/storage/endpoint";

fn storage(name: &str) -> Value {
    json!({
        "name": name, "access_key_id": "AKIA1", "secret_access_key": SECRET, "bucket": "my-bucket",
        "endpoint": "https://us-east-1.s3.example.com"
    })
}

fn profile(name: &str) -> Value {
    json!({"name": name, "source": "/my-bucket/config.cfg", "source_type": "File", "destination": "/usr/share/configs"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_is_made_shown_changed_listed_and_removed_and_its_secret_never_shown() {
    let world = World::new().await;
    let made = world.post(BASE, &storage("my s3")).await;
    let body = made.expect(200);
    check_v1("EndpointStoragePostResponse", &body);
    assert_eq!(body["output_format"], "TEXT");
    let shown = world.get(&format!("{BASE}/my%20s3")).await;
    check_v1("EndpointStorageGetResponse", &shown.expect(200));
    assert_eq!(world.post(BASE, &storage("my s3")).await.code, 409);

    let patch =
        json!({"name": "logs", "output_format": "NDJSON", "secret_access_key": SECRET, "bucket": null});
    let changed = world.patch(&format!("{BASE}/my%20s3"), &patch).await;
    let body = changed.expect(200);
    check_v1("EndpointStoragePatchResponse", &body);
    assert_eq!(
        (&body["name"], &body["output_format"], &body["bucket"]),
        (&json!("logs"), &json!("NDJSON"), &json!("my-bucket"))
    );
    assert_eq!(world.get(&format!("{BASE}/my%20s3")).await.code, 404);

    for name in ["b", "a"] {
        world.post(BASE, &storage(name)).await.expect(200);
    }
    let request = Request::get("/v1/storage/endpoints?limit=2")
        .header("authorization", ADMIN)
        .header("x-fields", "endpoints{name}");
    let list = world.send(request.body(Body::empty()).unwrap()).await;
    let body = list.expect(200);
    check_v1("EndpointStorageListResponse", &body);
    let names: Vec<_> = body["endpoints"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!((names, &body["total_count"]), (vec![json!("a"), json!("b")], &json!(3)));
    assert_eq!(body["pagination"]["has_next"], true);
    assert_eq!(world.patch(&format!("{BASE}/a"), &json!({"name": "b"})).await.code, 409);

    for answer in [made, shown, changed, list] {
        assert!(!answer.text.contains(SECRET) && !answer.text.contains("secret_access_key"), "{answer:?}");
    }
    let gone = world.delete(&format!("{BASE}/a")).await;
    assert_eq!((gone.code, gone.text.as_str()), (204, ""));
    for code in [
        world.delete(&format!("{BASE}/a")).await.code,
        world.get(&format!("{BASE}/a")).await.code,
        world.patch(&format!("{BASE}/a"), &json!({})).await.code,
        world.get(&format!("{BASE}/a/pull-profiles")).await.code,
        world.post(&format!("{BASE}/a/pull-profile"), &profile("p")).await.code,
    ] {
        assert_eq!(code, 404);
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_is_made_shown_changed_linked_listed_and_removed() {
    let world = World::with_arena().await;
    world.post(BASE, &storage("s3")).await.expect(200);
    let made = world.post(&format!("{BASE}/s3/pull-profile"), &profile("configs")).await.expect(200);
    check_v1("PullProfilePostResponse", &made);
    assert_eq!(world.post(&format!("{BASE}/s3/pull-profile"), &profile("configs")).await.code, 409);
    let one = format!("{BASE}/s3/pull-profile/configs");
    let shown = world.get(&one).await.expect(200);
    check_v1("PullProfileGetResponse", &shown);
    assert_eq!(shown, made);
    let changed = world.patch(&one, &json!({"source": "maps/", "source_type": "folder"})).await.expect(200);
    check_v1("PulloProfilePatchResponse", &changed);
    assert_eq!(
        (&changed["source_type"], &changed["destination"]),
        (&json!("Folder"), &json!("/usr/share/configs"))
    );
    // A folder's source is none of a file.
    assert_eq!(world.patch(&one, &json!({"source_type": "File"})).await.code, 400);

    let link = format!("{one}/app/arena/version/v1");
    for _ in 0..2 {
        let linked = world.call(Method::PUT, &link, ADMIN, None).await.expect(200);
        check_v1("PullProfileAppVersionLinkResponse", &linked);
        assert_eq!((&linked["endpoint"], &linked["app_version"]), (&json!("s3"), &json!("v1")));
    }
    for missing in ["arena/version/none", "none/version/v1"] {
        let answer = world.call(Method::PUT, &format!("{one}/app/{missing}"), ADMIN, None).await;
        assert_eq!(answer.code, 404, "{missing}");
    }
    assert_eq!(world.delete(&link).await.code, 204);
    assert_eq!(world.delete(&link).await.code, 404);

    let list = world.get(&format!("{BASE}/s3/pull-profiles")).await.expect(200);
    check_v1("PullProfilesListResponse", &list);
    assert_eq!((&list["total_count"], &list["pull_profiles"][0]), (&json!(1), &changed));
    assert_eq!(world.delete(&one).await.code, 204);
    assert_eq!(world.delete(&one).await.code, 404);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_storages_and_profiles_are_named_field_by_field() {
    let world = World::new().await;
    world.post(BASE, &storage("s3")).await.expect(200);
    let bad = |field: &str, value: Value| {
        let mut body = storage("other");
        body[field] = value;
        body
    };
    for (field, value) in [
        ("name", json!("a/b")),
        ("access_key_id", json!("a b")),
        ("secret_access_key", json!("hunter 2")),
        ("endpoint", json!("s3.example.com")),
        ("endpoint", json!("ftp://s3.example.com")),
        ("endpoint", json!("https://user:hunter2@s3.example.com")),
        ("endpoint", json!("https://s3.example.com/bucket")),
        ("endpoint", json!("http://169.254.169.254")),
        ("endpoint", json!("http://10.1.2.3:9000")),
        ("bucket", json!("My_Bucket")),
        ("output_format", json!("XML")),
    ] {
        for (method, path) in [(Method::POST, BASE.to_owned()), (Method::PATCH, format!("{BASE}/s3"))] {
            let answer = world.call(method, &path, ADMIN, Some(&bad(field, value.clone()))).await;
            assert_eq!(answer.code, 400, "{field} {value}: {answer:?}");
            assert!(answer.message().starts_with(&format!("{field}: ")), "{answer:?}");
            assert!(!answer.text.contains("hunter"), "{answer:?}");
        }
    }
    for (field, value) in [
        ("name", json!("")),
        ("source", json!("../secrets")),
        ("source_type", json!("Directory")),
        ("destination", json!("relative/path")),
        ("destination", json!("/data/../etc")),
    ] {
        let mut body = profile("p");
        body[field] = value.clone();
        let answer = world.post(&format!("{BASE}/s3/pull-profile"), &body).await;
        assert_eq!(answer.code, 400, "{field} {value}: {answer:?}");
        assert!(answer.message().starts_with(&format!("{field}: ")), "{answer:?}");
    }
    // Documented to fail the deployment, not the profile.
    world
        .post(
            &format!("{BASE}/s3/pull-profile"),
            &json!({"name": "etc", "source": "a", "source_type": "File", "destination": "/etc/game"}),
        )
        .await
        .expect(200);
    for name in ["%00", "%2e%2e", "a%2fb", &"x".repeat(65), "%ff"] {
        for path in [
            format!("{BASE}/{name}"),
            format!("{BASE}/s3/pull-profile/{name}"),
            format!("{BASE}/{name}/pull-profiles"),
        ] {
            let code = world.get(&path).await.code;
            assert!([400, 404].contains(&code), "{path:.60}: {code}");
        }
    }
    assert_eq!(world.get("/v1/storage/endpoints?page=0").await.code, 400);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_bound_to_an_application_has_no_part_in_storages() {
    let world = World::with_arena().await;
    world.post(BASE, &storage("s3")).await.expect(200);
    world.post(&format!("{BASE}/s3/pull-profile"), &profile("p")).await.expect(200);
    let bound = world.token("admin", &["arena"]).await;
    for (method, path, body) in [
        (Method::GET, "/v1/storage/endpoints".to_owned(), None),
        (Method::GET, format!("{BASE}/s3"), None),
        (Method::POST, BASE.to_owned(), Some(storage("mine"))),
        (Method::PATCH, format!("{BASE}/s3"), Some(json!({}))),
        (Method::DELETE, format!("{BASE}/s3"), None),
        (Method::GET, format!("{BASE}/s3/pull-profiles"), None),
        (Method::GET, format!("{BASE}/s3/pull-profile/p"), None),
        (Method::POST, format!("{BASE}/s3/pull-profile"), Some(profile("q"))),
        (Method::PATCH, format!("{BASE}/s3/pull-profile/p"), Some(json!({}))),
        (Method::DELETE, format!("{BASE}/s3/pull-profile/p"), None),
        (Method::PUT, format!("{BASE}/s3/pull-profile/p/app/arena/version/v1"), None),
        (Method::DELETE, format!("{BASE}/s3/pull-profile/p/app/arena/version/v1"), None),
    ] {
        let answer = world.call(method.clone(), &path, &bound, body.as_ref()).await;
        assert_eq!(answer.code, 403, "{method} {path}: {answer:?}");
    }
    world.end().await;
}
