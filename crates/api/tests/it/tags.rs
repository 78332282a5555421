//! Tags of a deployment: the five calls, in every state, and the lists that they filter.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{ADMIN, World, deployment};

fn names(list: &Value) -> Vec<&str> {
    list["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect()
}

/// How many deployments the list finds by a tag.
async fn found_by(world: &World, tag: &str) -> u64 {
    let query = json!({"filters": [{"field": "tags", "operator": "eq", "value": tag}]}).to_string();
    let query: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
    world.get(&format!("/v1/deployments?query={query}")).await.expect(200)["total_count"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_created_listed_got_renamed_and_deleted_as_specified() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let tags = format!("/v1/deployments/{id}/tags");
    let empty = world.get(&tags).await.expect(200);
    check_v1("DeploymentTagListResponse", &empty);
    assert_eq!((&empty["count"], &empty["total_count"], &empty["tags"]), (&json!(0), &json!(0), &json!([])));

    let created = world.post(&tags, &json!({"name": "ranked"})).await.expect(200);
    check_v1("DeploymentTagResponse", &created);
    assert_eq!(created["create_time"], created["last_updated"]);
    check_v1("Error", &world.post(&tags, &json!({"name": "ranked"})).await.expect(409));
    assert_eq!(world.get(&format!("{tags}/ranked")).await.expect(200), created);
    assert_eq!(found_by(&world, "ranked").await, 1);

    world.clock.advance(Duration::from_secs(2));
    world.post(&tags, &json!({"name": "eu"})).await.expect(200);
    check_v1("Error", &world.patch(&format!("{tags}/ranked"), &json!({"name": "eu"})).await.expect(409));
    let renamed = world.patch(&format!("{tags}/ranked"), &json!({"name": "casual"})).await.expect(200);
    check_v1("DeploymentTagResponse", &renamed);
    assert_eq!((&renamed["name"], &renamed["create_time"]), (&json!("casual"), &created["create_time"]));
    assert!(renamed["last_updated"].as_str() > created["last_updated"].as_str());
    let same = world.patch(&format!("{tags}/casual"), &json!({"name": "casual"})).await.expect(200);
    assert_eq!(same, renamed, "its own name is no conflict");
    assert_eq!((found_by(&world, "ranked").await, found_by(&world, "casual").await), (0, 1));

    let list = world.get(&tags).await.expect(200);
    assert_eq!((names(&list), &list["count"]), (vec!["casual", "eu"], &json!(2)));
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["tags"], json!(["casual", "eu"]));
    let gone = world.delete(&format!("{tags}/casual")).await;
    assert_eq!((gone.code, gone.text.as_str()), (204, ""));
    check_v1("Error", &world.delete(&format!("{tags}/casual")).await.expect(404));
    check_v1("Error", &world.get(&format!("{tags}/casual")).await.expect(404));
    check_v1("Error", &world.patch(&format!("{tags}/casual"), &json!({"name": "x"})).await.expect(404));
    assert_eq!(found_by(&world, "casual").await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_in_the_path_is_percent_decoded() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let tags = format!("/v1/deployments/{id}/tags");
    for (name, encoded) in [
        ("eu west", "eu%20west"),
        ("a/b", "a%2Fb"),
        ("ranked,eu", "ranked%2Ceu"),
        ("50%", "50%25"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("a+b", "a+b"),
        ("tags", "tags"),
        ("a?b#c", "a%3Fb%23c"),
    ] {
        world.post(&tags, &json!({"name": name})).await.expect(200);
        let path = format!("{tags}/{encoded}");
        assert_eq!(world.get(&path).await.expect(200)["name"], name);
        let next = format!("{name}!");
        assert_eq!(world.patch(&path, &json!({"name": next})).await.expect(200)["name"], next);
        assert_eq!(world.delete(&format!("{path}!")).await.code, 204, "{name}");
    }
    assert_eq!(world.get(&tags).await.expect(200)["count"], 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_have_one_to_forty_characters_and_a_deployment_has_at_most_64() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let tags = format!("/v1/deployments/{id}/tags");
    for bad in [json!(""), json!("x".repeat(41)), json!(5), json!(["a"]), json!("a\u{0}"), json!("\u{202e}a")]
    {
        for (method, path) in [(Method::POST, tags.clone()), (Method::PATCH, format!("{tags}/x"))] {
            let answer = world.call(method, &path, ADMIN, Some(&json!({"name": bad}))).await;
            check_v1("Error", &answer.expect(400));
            assert!(answer.message().starts_with("name:"), "{answer:?}");
        }
    }
    for number in 0..64 {
        world.post(&tags, &json!({"name": format!("{number:0>40}")})).await.expect(200);
    }
    let full = world.post(&tags, &json!({"name": "one more"})).await;
    full.expect(400);
    assert!(full.message().contains("64"), "{full:?}");
    let all = world.get(&tags).await.expect(200);
    assert_eq!(
        (names(&all).len(), &all["pagination"]["has_next"]),
        (64, &json!(false)),
        "no client must page"
    );
    let page = world.get(&format!("{tags}?page=7&limit=10")).await.expect(200);
    assert_eq!((names(&page).len(), &page["count"], &page["total_count"]), (4, &json!(64), &json!(64)));
    assert_eq!(page["pagination"]["paginator"]["num_pages"], 7);
    assert_eq!(names(&world.get(&format!("{tags}?page=8&limit=10")).await.expect(200)).len(), 0);
    assert_eq!(world.get(&format!("{tags}?page=0")).await.code, 400);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_can_be_changed_until_the_end_and_read_afterwards() {
    let world = World::with_arena().await;
    world.create_version("arena", "slow", "fake/game", "listen-delay-400ms.ignore-term").await;
    world.create_version("arena", "bad", "fake/game", "image-missing").await;
    let mut body = deployment("slow");
    body["tags"] = json!(["first"]);
    let id =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    let tags = format!("/v1/deployments/{id}/tags");
    world.post(&tags, &json!({"name": "deploying"})).await.expect(200);
    world.until(&id, "READY").await;
    world.post(&tags, &json!({"name": "ready"})).await.expect(200);
    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    world.until(&id, "TERMINATING").await;
    world.post(&tags, &json!({"name": "terminating"})).await.expect(200);
    world.clock.advance(Duration::from_secs(5));
    world.until(&id, "TERMINATED").await;

    let kept = world.get(&tags).await.expect(200);
    assert_eq!(names(&kept), ["first", "deploying", "ready", "terminating"]);
    assert_eq!(world.get(&format!("{tags}/first")).await.code, 200);
    for (method, path) in [
        (Method::POST, tags.clone()),
        (Method::PATCH, format!("{tags}/first")),
        (Method::DELETE, format!("{tags}/first")),
    ] {
        let answer = world.call(method.clone(), &path, ADMIN, Some(&json!({"name": "last"}))).await;
        check_v1("Error", &answer.expect(404));
        assert!(answer.message().contains("has ended"), "{answer:?}");
    }
    assert_eq!(names(&world.get(&tags).await.expect(200)), names(&kept));

    let failed = world.deploy("bad").await;
    world.until(&failed, "ERROR").await;
    world.post(&format!("/v1/deployments/{failed}/tags"), &json!({"name": "why"})).await.expect(200);
    for unknown in ["000000000000", "nonsense", "%00"] {
        check_v1("Error", &world.get(&format!("/v1/deployments/{unknown}/tags")).await.expect(404));
        let path = format!("/v1/deployments/{unknown}/tags");
        check_v1("Error", &world.post(&path, &json!({"name": "x"})).await.expect(404));
    }
    world.end().await;
}
