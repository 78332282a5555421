//! Access lists over HTTP: shapes, codes, names that do not exist.

use serde_json::json;

use crate::schemas::check_v1;
use crate::world::World;

const LIST: &str = "/v1/app/arena/version/v1/whitelist";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_added_shown_listed_and_removed() {
    let world = World::with_arena().await;
    assert_eq!(world.get(LIST).await.expect(200), json!({"whitelist_entries": []}));
    let made = world.post(LIST, &json!({"cidr": "1.2.3.4/16", "label": "Matchmaker"})).await.expect(200);
    check_v1("AppVersionWhitelistEntrySuccess", &made);
    assert_eq!(made["success"], true);
    let entry = &made["whitelist_entry"];
    assert_eq!(
        (&entry["cidr"], &entry["label"], &entry["is_active"]),
        (&json!("1.2.0.0/16"), &json!("Matchmaker"), &json!(true))
    );
    let id = entry["id"].as_str().unwrap().to_owned();
    let bare = world
        .post(LIST, &json!({"cidr": "203.0.113.7", "is_active": false, "label": null}))
        .await
        .expect(200);
    let bare = &bare["whitelist_entry"];
    assert_eq!(
        (&bare["cidr"], &bare["label"], &bare["is_active"]),
        (&json!("203.0.113.7/32"), &json!(""), &json!(false))
    );

    let shown = world.get(&format!("{LIST}/{id}")).await.expect(200);
    check_v1("AppVersionWhitelistEntry", &shown);
    assert_eq!(shown, *entry);
    let list = world.get(LIST).await.expect(200);
    check_v1("AppVersionWhitelistResponse", &list);
    assert_eq!(list["whitelist_entries"].as_array().unwrap().len(), 2);

    let removed = world.delete(&format!("{LIST}/{id}")).await.expect(200);
    check_v1("AppVersionWhitelistEntrySuccess", &removed);
    assert_eq!(removed["whitelist_entry"], shown);
    assert_eq!(world.get(LIST).await.expect(200)["whitelist_entries"], json!([bare]));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_is_not_found_and_bad_fields_are_named() {
    let world = World::with_arena().await;
    for path in
        [format!("{LIST}/7"), format!("{LIST}/none"), format!("{LIST}/-1"), format!("{LIST}/99999999999")]
    {
        assert_eq!(world.get(&path).await.code, 404, "{path}");
        assert_eq!(world.delete(&path).await.code, 404, "{path}");
    }
    for path in ["/v1/app/arena/version/none/whitelist", "/v1/app/none/version/v1/whitelist"] {
        assert_eq!(world.get(path).await.code, 404, "{path}");
        assert_eq!(world.post(path, &json!({"cidr": "10.0.0.0/8"})).await.code, 404, "{path}");
    }
    for (body, field) in [
        (json!({}), "cidr"),
        (json!({"cidr": "10.0.0.0/33"}), "cidr"),
        (json!({"cidr": ["10.0.0.0/8"]}), "cidr"),
        (json!({"cidr": "10.0.0.0/8", "label": "a\u{0}b"}), "label"),
        (json!({"cidr": "10.0.0.0/8", "is_active": "yes"}), "is_active"),
    ] {
        let answer = world.post(LIST, &body).await;
        assert_eq!(answer.code, 400, "{body}");
        assert!(answer.message().contains(field), "{body}: {}", answer.message());
    }
    assert_eq!(world.get(LIST).await.expect(200), json!({"whitelist_entries": []}));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_says_whether_a_list_is_in_force() {
    let world = World::with_arena().await;
    let open = world.deploy_ready("v1").await;
    world.patch("/v1/app/arena/version/v1", &json!({"whitelisting_active": true})).await.expect(200);
    let closed = world.deploy_ready("v1").await;
    for (id, active) in [(open, false), (closed, true)] {
        let status = world.get(&format!("/v1/status/{id}")).await.expect(200);
        assert_eq!(status["whitelisting_active"], active);
    }
    world.end().await;
}
