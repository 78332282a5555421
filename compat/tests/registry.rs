//! The installation's own registry, a real one: tags of its images are listed and deleted over the API, and its login is given
//! to plugins.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::text;
use spawnpoint_compat::registry::{PASSWORD, Registry, Setup, USERNAME};
use spawnpoint_compat::{Server, game, server};
use tokio::time::Instant;

const TAGS: &str = "/v1/container-registry/images/arena/tags";

/// A server whose own registry has `games/arena`: `v1` and `latest` are the same image, `v2` and `v3` are others.
fn with_images(setup: Setup) -> Option<(Registry, Server)> {
    let registry = Registry::start_as(setup)?;
    let game = game::build();
    registry.push(&game, "games/arena", "v1");
    registry.push(&game, "games/arena", "latest");
    registry.push(&game, "others/arena", "secret");
    for tag in ["v2", "v3"] {
        registry.retag_anew("games/arena", "v1", tag);
    }
    let own = registry.as_own("games");
    let server = Server::start(|ports| format!("{}{own}", server::fake(ports)));
    Some((registry, server))
}

/// Tags as the registry itself has them.
fn held(registry: &Registry) -> Vec<String> {
    let list = registry.call("GET", "/v2/games/arena/tags/list", "", None).expect(200);
    let tags = list["tags"].as_array().into_iter().flatten();
    let mut tags: Vec<String> = tags.map(|tag| tag.as_str().unwrap().to_owned()).collect();
    tags.sort();
    tags
}

fn tags_of(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|tag| tag["tag"].as_str().unwrap()).collect()
}

/// The whole life of tags, in a registry that wants a login or none.
fn the_life_of_tags(setup: Setup) {
    let Some((registry, server)) = with_images(setup) else { return };
    let api = &server.api;
    let list = api.get(TAGS).expect(200);
    assert_eq!(tags_of(&list), ["latest", "v1", "v2", "v3"]);
    assert_eq!((&list["count"], &list["total_count"]), (&json!(4), &json!(4)));
    let artifact = &list["data"][1]["artifact"];
    assert_eq!(artifact["remaining_tags"], json!(["latest", "v1"]));
    assert_eq!(artifact["artifact_deleted"], false);
    assert!(text(artifact, "image_hash").starts_with("sha256:"));
    assert!(artifact["size_mb"].as_f64().unwrap() > 0.0);
    assert_ne!(artifact["image_hash"], list["data"][2]["artifact"]["image_hash"]);

    // Names with the project in front, with slashes as they are and encoded; others' images are out of reach.
    for name in ["games/arena", "games%2Farena"] {
        assert_eq!(
            api.get(&format!("/v1/container-registry/images/{name}/tags")).expect(200),
            list,
            "{name}"
        );
    }
    for name in ["others/arena", "..%2Fothers%2Farena", "games/../others/arena", "none", "Arena"] {
        assert_eq!(api.get(&format!("/v1/container-registry/images/{name}/tags")).status, 404, "{name}");
    }
    let page = api.get(&format!("{TAGS}?limit=3&page=2")).expect(200);
    assert_eq!((tags_of(&page), &page["pagination"]["has_next"]), (vec!["v3"], &json!(false)));

    // Of a tag that shares its image, the others stay; with its last tag an image goes.
    let gone = api.delete(&format!("{TAGS}/latest")).expect(200);
    assert_eq!(
        (&gone["deleted_tag"], &gone["artifact"]["remaining_tags"]),
        (&json!("latest"), &json!(["v1"]))
    );
    assert_eq!(gone["artifact"]["artifact_deleted"], false);
    assert_eq!(held(&registry), ["v1", "v2", "v3"]);
    let gone = api.delete("/v1/container-registry/images/games/arena/tags/v1").expect(200);
    assert_eq!(
        (&gone["artifact"]["artifact_deleted"], &gone["artifact"]["remaining_tags"]),
        (&json!(true), &json!([]))
    );
    let digest = text(&gone["artifact"], "image_hash");
    assert_eq!(registry.call("GET", &format!("/v2/games/arena/manifests/{digest}"), "", None).status, 404);
    assert_eq!(held(&registry), ["v2", "v3"]);
    for missing in ["v1", "nope", "%2E%2E%2Fv2"] {
        assert_eq!(api.delete(&format!("{TAGS}/{missing}")).status, 404, "{missing}");
    }

    let several = api.post(&format!("{TAGS}/bulk-delete"), &json!({"tags": ["v2", "nope", "v3", "v3"]}));
    let several = several.expect(207);
    let codes: Vec<_> =
        several["results"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(codes, [204, 404, 204, 404]);
    assert_eq!(several["summary"], json!({"total": 4, "success": 2, "failed": 2}));
    assert_eq!(api.get(TAGS).expect(200)["data"], json!([]));
    assert!(!server.log().contains(PASSWORD));
    server.audit();
}

#[test]
fn tags_are_listed_and_deleted_in_a_registry_with_a_login() {
    the_life_of_tags(Setup { has_login: true, deletes: true });
}

#[test]
fn tags_are_listed_and_deleted_in_a_registry_without_a_login() {
    the_life_of_tags(Setup { has_login: false, deletes: true });
}

#[test]
fn a_registry_that_does_not_delete_or_does_not_answer_is_said_so() {
    let Some((mut registry, server)) = with_images(Setup { has_login: true, deletes: false }) else {
        return;
    };
    let api = &server.api;
    let before = api.get(TAGS).expect(200);
    for tag in ["v2", "latest"] {
        let refused = api.delete(&format!("{TAGS}/{tag}"));
        assert_eq!(refused.status, 424, "{tag}: {}", refused.text());
        assert!(refused.text().contains("REGISTRY_STORAGE_DELETE_ENABLED"), "{tag}: {}", refused.text());
    }
    let several = api.post(&format!("{TAGS}/bulk-delete"), &json!({"tags": ["v2", "nope"]})).expect(207);
    assert_eq!(
        (&several["results"][0]["status"], &several["results"][1]["status"]),
        (&json!(500), &json!(404))
    );
    assert_eq!(api.get(TAGS).expect(200), before, "everything is as it was");

    let credentials = api.get("/v1/wizard/registry-credentials").expect(200);
    let expected = json!({"registry_url": registry.address, "project": "games", "username": USERNAME, "token": PASSWORD});
    assert_eq!(credentials, expected);
    registry.end();
    for answer in [
        api.get(TAGS),
        api.delete(&format!("{TAGS}/v1")),
        api.post(&format!("{TAGS}/bulk-delete"), &json!({"tags": ["v1"]})),
    ] {
        assert_eq!(answer.status, 424, "{}", answer.text());
        assert!(answer.text().contains("did not answer") && !answer.text().contains(PASSWORD));
    }
    assert!(!server.log().contains(PASSWORD));
    server.audit();
}

#[test]
fn a_login_that_the_registry_does_not_take_is_said_so_at_once() {
    let Some(registry) = Registry::start() else { return };
    let own = registry.as_own("games").replace(USERNAME, "nobody");
    let server = Server::start(|ports| format!("{}{own}", server::fake(ports)));
    let started = Instant::now();
    let refused = server.api.get(TAGS);
    assert_eq!(refused.status, 424, "{}", refused.text());
    assert!(refused.text().contains("login"), "{}", refused.text());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(server.api.get("/v1/container-registry/images/none/tags").status, 424);
    server.audit();
}
