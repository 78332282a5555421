//! Sessions over HTTP: their shapes, their codes, who may see them.

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::check_v1;
use crate::world::{World, version};

async fn seats(world: &World, name: &str, session: Value) {
    let mut body = version(name, "fake/game", "ok");
    body["session_config"] = session;
    (body["req_cpu"], body["req_memory"]) = (json!(128), json!(128));
    world.post("/v1/app/arena/version", &body).await.expect(200);
}

fn ask(version: &str, ips: &[&str]) -> Value {
    json!({"app_name": "arena", "version_name": version, "ip_list": ips})
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_made_shown_changed_and_deleted_as_specified() {
    let world = World::with_arena().await;
    seats(&world, "seats", json!({"kind": "Seat", "sockets": 3})).await;
    let id = world.deploy_ready("seats").await;
    let mut body = ask("seats", &["192.0.2.1"]);
    body["selectors"] = json!([{"tag": "note", "tag_only": true, "env": {}}]);
    body["webhook_url"] = json!("http://user:secret@127.0.0.1:9/hook?token=secret");
    let answer = world.post("/v1/session", &body).await;
    let made = answer.expect(200);
    check_v1("SessionRequest", &made);
    assert_eq!((&made["app"], &made["version"]), (&json!("arena"), &json!("seats")));
    assert_eq!(made["deployment_request_id"], id.as_str());
    assert_eq!(made["webhook_url"], "http://127.0.0.1:9/hook");
    assert_eq!(made["selectors"][0]["tag"], "note");
    assert!(!answer.text.contains("secret"), "{answer:?}");
    let session = format!("/v1/session/{}", text(&made, "session_id"));

    let shown = world.get(&session).await.expect(200);
    check_v1("SessionGet", &shown);
    assert_eq!(
        (&shown["status"], &shown["ready"], &shown["linked"]),
        (&json!("Status.READY"), &json!(true), &json!(true))
    );
    assert_eq!(
        (&shown["kind"], &shown["app_version"], &shown["user_count"]),
        (&json!("Seat"), &json!(2), &json!(1))
    );
    assert_eq!(shown["session_users"], json!([{"ip": "192.0.2.1", "latitude": null, "longitude": null}]));
    assert_eq!(shown["session_ips"], shown["session_users"]);
    let deployment = &shown["deployment"];
    assert_eq!((&deployment["request_id"], &deployment["sockets_usage"]), (&json!(id), &json!(1)));

    let users = format!("{session}/users");
    let two = json!({"ip_list": ["192.0.2.1", "2001:db8::1"]});
    let put = world.call(Method::PUT, &users, crate::world::ADMIN, Some(&two)).await.expect(200);
    check_v1("SessionUserContext", &put);
    assert_eq!(put["session_users"].as_array().unwrap().len(), 3);
    let full = world.call(Method::PUT, &users, crate::world::ADMIN, Some(&two)).await;
    check_v1("Error", &full.expect(422));
    assert_eq!(world.get(&users).await.expect(200), put);
    let status = world.get(&format!("/v1/status/{id}")).await.expect(200);
    check_v1("Status", &status);
    assert_eq!((&status["sockets"], &status["sockets_usage"]), (&json!(3), &json!(3)));
    assert_eq!(
        status["sessions"],
        json!([{
            "session_id": shown["session_id"], "status": "Status.READY", "ready": true, "linked": true,
            "kind": "Seat", "user_count": 3
        }])
    );
    let listed = world.get("/v1/deployments").await.expect(200);
    assert_eq!((&listed["data"][0]["sockets"], &listed["data"][0]["sockets_usage"]), (&json!(3), &json!(3)));
    let left = world.call(Method::DELETE, &users, crate::world::ADMIN, Some(&two)).await.expect(200);
    check_v1("SessionUserContext", &left);
    assert_eq!(left["session_users"].as_array().unwrap().len(), 1);

    let list = world.get("/v1/sessions").await.expect(200);
    check_v1("Sessions", &list);
    assert_eq!((&list["total_count"], &list["data"][0]["deployment_request_id"]), (&json!(1), &json!(id)));
    check_v1("SessionDelete", &world.delete(&session).await.expect(200));
    check_v1("Error", &world.delete(&session).await.expect(410));
    check_v1("Error", &world.get(&session).await.expect(404));
    assert_eq!(world.get("/v1/sessions").await.expect(200)["total_count"], 0);
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["sockets_usage"], 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_nobody_is_unprocessable_or_has_one_deployed() {
    let world = World::with_arena().await;
    seats(&world, "seats", json!({"kind": "Seat", "sockets": 3})).await;
    seats(&world, "auto", json!({"kind": "Match", "sockets": 2, "autodeploy": true})).await;
    let made = world.post("/v1/session", &ask("seats", &["192.0.2.1"])).await.expect(200);
    check_v1("SessionRequest", &made);
    let shown = world.get(&format!("/v1/session/{}", text(&made, "session_id"))).await.expect(200);
    check_v1("SessionGet", &shown);
    assert_eq!((&shown["status"], &shown["linked"]), (&json!("Status.UNPROCESSABLE"), &json!(false)));
    assert!(shown["error"].as_str().unwrap().contains("room"), "{shown}");

    let mut body = ask("auto", &["192.0.2.1", "192.0.2.2"]);
    body["selectors"] = json!([{"tag": "ranked", "env": {"key": "MODE", "value": "duel"}}]);
    let made = world.post("/v1/session", &body).await.expect(200);
    let id = text(&made, "deployment_request_id");
    let status = world.until(&id, "READY").await;
    assert_eq!((&status["tags"], &status["sockets_usage"]), (&json!(["ranked"]), &json!(1)));
    let second = world.post("/v1/session", &body).await.expect(200);
    assert_eq!(second["deployment_request_id"], id.as_str());
    let named = json!({"app_name": "arena", "deployment_request_id": id});
    let full = world.post("/v1/session", &named).await;
    check_v1("Error", &full.expect(409));
    assert!(full.message().contains("free sockets"), "{full:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_sessions_are_made_and_deleted_one_by_one_and_together() {
    let world = World::with_arena().await;
    seats(&world, "seats", json!({"kind": "Seat", "sockets": 3})).await;
    let id = world.deploy_ready("seats").await;
    let one = format!("/v1/deployment/{id}/custom/session/party%207");
    let all = format!("/v1/deployment/{id}/custom/sessions");
    let body = json!({"ip_list": ["192.0.2.1"], "webhook_url": ""});
    let made = world.post(&one, &body).await.expect(200);
    check_v1("SessionRequest", &made);
    assert_eq!(made["custom_id"], "party 7");
    check_v1("Error", &world.post(&one, &body).await.expect(409));
    check_v1("SessionGet", &world.get(&one).await.expect(200));
    let grown = world.patch(&one, &json!({"ip_list": ["192.0.2.1", "192.0.2.2"]})).await.expect(200);
    check_v1("SessionGet", &grown);
    assert_eq!((&grown["user_count"], &grown["custom_id"]), (&json!(2), &json!("party 7")));
    let sessions = json!([
        {"custom_id": "b", "ip_list": ["192.0.2.3"]},
        {"custom_id": "c", "ip_list": ["192.0.2.4"]},
    ]);
    let bulk = world.post(&all, &json!({"sessions": sessions})).await.expect(200);
    check_v1("BulkSessionPost", &bulk);
    assert_eq!(
        (bulk["sessions"].as_array().unwrap().len(), bulk["errors"].as_array().unwrap().len()),
        (1, 1)
    );
    let list = world.get(&all).await.expect(200);
    check_v1("Sessions", &list);
    assert_eq!(list["total_count"], 2);
    let names = json!({"sessions": ["b", "nobody"]});
    let deleted = world.call(Method::DELETE, &all, crate::world::ADMIN, Some(&names)).await.expect(200);
    check_v1("BulkSessionDelete", &deleted);
    assert_eq!(
        (deleted["sessions"][0]["custom_id"].clone(), deleted["errors"].as_array().unwrap().len()),
        (json!("b"), 1)
    );
    check_v1("SessionDelete", &world.delete(&one).await.expect(200));
    check_v1("Error", &world.delete(&one).await.expect(404));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_delete_sessions_and_bound_tokens_see_their_own_alone() {
    let world = World::with_arena().await;
    seats(&world, "seats", json!({"kind": "Seat", "sockets": 9})).await;
    let id = world.deploy_ready("seats").await;
    world.post(&format!("/v1/deployments/{id}/tags"), &json!({"name": "eu"})).await.expect(200);
    let session =
        text(&world.post("/v1/session", &ask("seats", &["192.0.2.1"])).await.expect(200), "session_id");
    world.create_app("other").await;
    let stranger = world.token("admin", &["other"]).await;
    let tagged = json!({"filters": [{"field": "deployment_tags", "values": ["eu"], "filter_type": "any"}]});
    for (method, path, body) in [
        (Method::GET, format!("/v1/session/{session}"), None),
        (Method::GET, format!("/v1/session/{session}/users"), None),
        (Method::PUT, format!("/v1/session/{session}/users"), Some(json!({"ip_list": ["192.0.2.1"]}))),
        (Method::DELETE, format!("/v1/session/{session}/users"), Some(json!({"ip_list": ["192.0.2.1"]}))),
        (Method::DELETE, format!("/v1/session/{session}"), None),
    ] {
        let answer = world.call(method.clone(), &path, &stranger, body.as_ref()).await;
        check_v1("Error", &answer.expect(404));
    }
    let nothing =
        world.call(Method::POST, "/v1/sessions/bulk-stop", &stranger, Some(&tagged)).await.expect(200);
    assert_eq!(nothing, json!({"processable": []}));
    assert_eq!(world.call(Method::GET, "/v1/sessions", &stranger, None).await.expect(200)["total_count"], 0);
    let stopped = world.post("/v1/sessions/bulk-stop", &tagged).await.expect(200);
    check_v1("SessionBulkStopResponse", &stopped);
    assert_eq!(stopped, json!({"processable": [{"session_id": session}]}));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_field_of_a_session_is_named() {
    let world = World::with_arena().await;
    let ghost = "0123456789ab";
    for (path, body, field) in [
        ("/v1/session", json!({}), "app_name"),
        ("/v1/session", json!({"app_name": "nobody"}), "app_name"),
        ("/v1/session", json!({"app_name": "arena", "version_name": "nobody"}), "version_name"),
        ("/v1/session", json!({"app_name": "arena", "ip_list": ["here"]}), "ip_list[0]"),
        (
            "/v1/session",
            json!({"app_name": "arena", "geo_ip_list": [{"ip": "192.0.2.1"}]}),
            "geo_ip_list[0].latitude",
        ),
        ("/v1/session", json!({"app_name": "arena", "deployment_request_id": "x"}), "deployment_request_id"),
        (
            "/v1/session",
            json!({"app_name": "arena", "deployment_request_id": ghost}),
            "deployment_request_id",
        ),
        ("/v1/session", json!({"app_name": "arena", "selectors": [{}]}), "selectors[0].tag"),
        (
            "/v1/session",
            json!({"app_name": "arena", "selectors": [{"tag": "a", "env": {"key": "ARBITRIUM_X"}}]}),
            "selectors[0].env.key",
        ),
        (
            "/v1/session",
            json!({"app_name": "arena", "selectors": [{"tag": "a", "env": {"key": "A", "value": "x".repeat(1025)}}]}),
            "selectors[0].env.value",
        ),
        ("/v1/session", json!({"app_name": "arena", "webhook_url": "ftp://x"}), "webhook_url"),
        (
            "/v1/session",
            json!({"app_name": "arena", "webhook_url": "http://169.254.169.254/"}),
            "webhook_url",
        ),
        ("/v1/session", json!({"app_name": "arena", "filters": [{"field": "planet"}]}), "filters[0].values"),
        ("/v1/sessions/bulk-stop", json!({"filters": []}), "filters"),
        (
            "/v1/sessions/bulk-stop",
            json!({"filters": [{"field": "status", "values": ["a"], "filter_type": "any"}]}),
            "filters[0].field",
        ),
        ("/v1/deployment/0123456789ab/custom/session/a", json!({}), "ip_list"),
        (
            "/v1/deployment/0123456789ab/custom/sessions",
            json!({"sessions": [{"ip_list": []}]}),
            "sessions[0].custom_id",
        ),
    ] {
        let answer = world.post(path, &body).await;
        check_v1("Error", &answer.expect(400));
        assert!(answer.message().contains(field), "{path} {field}: {answer:?}");
    }
    check_v1("Error", &world.get("/v1/session/nobody").await.expect(404));
    check_v1(
        "Error",
        &world
            .post("/v1/deployment/0123456789ab/custom/session/a", &json!({"ip_list": []}))
            .await
            .expect(404),
    );
    assert_eq!(world.get("/v1/sessions").await.expect(200)["total_count"], 0);
    world.end().await;
}
