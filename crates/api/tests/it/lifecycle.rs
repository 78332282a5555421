//! One deployment from request to 410: codes and shapes in every state, checked against the published specifications.

use axum::http::Method;
use serde_json::{Value, json};

use crate::schemas::{check_openapi, check_v1};
use crate::world::{World, deployment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_shown_in_every_state_as_specified() {
    let world = World::with_arena().await;
    world.create_version("arena", "slow", "fake/game", "listen-delay-2s.term-delay-2s").await;

    let answer = world.post("/v2/deployments", &deployment("slow")).await;
    let body = answer.expect(202);
    check_openapi("deploy-v2.json", "/deployments", 202, &body);
    let id = body["request_id"].as_str().unwrap().to_owned();
    assert_eq!(body, json!({"request_id": id}));

    let mut seen: Vec<Value> = Vec::new();
    let mut stop_answer = None;
    for _ in 0..1000 {
        let status = world.get(&format!("/v1/status/{id}")).await.expect(200);
        check_v1("Status", &status);
        check_shape(&status);
        let word = status["current_status"].clone();
        if seen.last() != Some(&word) {
            let list = world.get("/v1/deployments").await.expect(200);
            check_v1("Deployments", &list);
            seen.push(word.clone());
        }
        if word == "Status.READY" && stop_answer.is_none() {
            stop_answer = Some(world.delete(&format!("/v1/stop/{id}")).await.expect(200));
        }
        if word == "Status.TERMINATED" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for word in ["Status.DEPLOYING", "Status.READY", "Status.TERMINATING", "Status.TERMINATED"] {
        assert!(seen.contains(&json!(word)), "{word} was not seen: {seen:?}");
    }
    let stop_answer = stop_answer.unwrap();
    check_v1("Delete", &stop_answer);
    assert_eq!(stop_answer["message"], format!("Instance {id} will be deleted"));
    assert_eq!(stop_answer["deployment_summary"]["request_id"], id);
    assert_eq!(world.count().await, 0, "what has ended is not listed");
    world.end().await;
}

/// What every status holds, whatever the state.
fn check_shape(status: &Value) {
    let word = status["current_status"].as_str().unwrap();
    assert_eq!(status["running"], word == "Status.READY");
    assert_eq!(status["error"], word == "Status.ERROR");
    assert!(status.get("message").is_none(), "Unity takes a message for a failure");
    assert!(
        status["elapsed_time"].is_u64()
            && status["start_time"].is_string()
            && status["public_ip"].is_string()
    );
    assert_eq!(status["removal_time"].is_string(), word == "Status.TERMINATED");
    let start = status["start_time"].as_str().unwrap();
    assert_eq!((start.len(), &start[10..11]), (26, " "));
    for (key, port) in status["ports"].as_object().unwrap() {
        assert_eq!(&port["name"], key);
        assert!((1..=65_535).contains(&port["external"].as_u64().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_202_before_ready_200_while_stopping_and_410_at_the_end() {
    let world = World::with_arena().await;
    world.create_version("arena", "slow", "fake/game", "listen-delay-400ms.ignore-term").await;
    let id = world.deploy("slow").await;
    let path = format!("/v1/stop/{id}");
    let early = world.delete(&path).await.expect(202);
    check_v1("DeleteRequestReceived", &early);
    assert_eq!(early, json!({"message": format!("{id} - Delete request will be processed soon")}));
    world.until(&id, "TERMINATING").await;
    for _ in 0..3 {
        let again = world.delete(&path).await.expect(200);
        assert_eq!(again["deployment_summary"]["current_status"], "Status.TERMINATING");
    }
    world.clock.advance(std::time::Duration::from_secs(6));
    world.until(&id, "TERMINATED").await;
    let gone = world.delete(&path).await;
    check_v1("Error", &gone.expect(410));
    let status = world.get(&format!("/v1/status/{id}")).await.expect(200);
    assert!(status["removal_time"].is_string(), "it can still be looked at");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_errored_deployment_says_why_stays_listed_and_is_retired_by_a_stop() {
    let world = World::with_arena().await;
    world.create_version("arena", "bad", "fake/game", "image-missing").await;
    let id = world.deploy("bad").await;
    let status = world.until(&id, "ERROR").await;
    check_v1("Status", &status);
    assert_eq!((&status["error"], &status["running"]), (&json!(true), &json!(false)));
    assert!(status["error_detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    let list = world.get("/v1/deployments").await.expect(200);
    assert_eq!(list["data"][0]["status"], "Status.ERROR");
    assert_eq!(list["data"][0]["ready"], false);
    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    world.until(&id, "TERMINATED").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_are_400_on_status_and_404_elsewhere() {
    let world = World::new().await;
    for id in ["000000000000", "nonsense", "%00", "ABCDEF012345", "..%2F..", "a%20b"] {
        let status = world.get(&format!("/v1/status/{id}")).await;
        assert_eq!((status.code, status.message().as_str()), (400, "Bad Request ID provided"), "{id}");
        let stop = world.delete(&format!("/v1/stop/{id}")).await;
        assert_eq!(stop.code, 404, "{id}");
        assert!(!stop.message().is_empty());
    }
    assert_eq!(world.get("/v1/status/%ff").await.code, 400);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_a_deployment_exists_in_error() {
    let world = World::with_arena().await;
    for _ in 0..12 {
        world.deploy("v1").await;
    }
    let refused = world.post("/v2/deployments", &deployment("v1")).await;
    let body = refused.expect(422);
    check_openapi("deploy-v2.json", "/deployments", 422, &body);
    let id = body["request_id"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.ERROR");
    let v1 = world
        .post("/v1/deploy", &json!({"app_name": "arena", "version_name": "v1", "ip_list": ["1.2.3.4"]}))
        .await;
    let body = v1.expect(422);
    check_openapi("deploy-v1.json", "/v1/deploy", 422, &body);
    assert_eq!(body.as_object().unwrap().len(), 1, "only a message: {body}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_carries_the_same_body_as_the_status() {
    let world = World::with_arena().await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<String>(8);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let hook = axum::Router::new().fallback(move |body: String| async move {
        sender.send(body).await.unwrap();
        "ok"
    });
    tokio::spawn(async move { axum::serve(listener, hook).await });
    let mut body = deployment("v1");
    body["webhook_on_ready"] = json!({"url": format!("http://{address}/ready?key=a%20b")});
    let id =
        world.post("/v2/deployments", &body).await.expect(202)["request_id"].as_str().unwrap().to_owned();
    let status = world.until(&id, "READY").await;
    let arrived =
        tokio::time::timeout(std::time::Duration::from_secs(10), receiver.recv()).await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&arrived).unwrap(), status);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_choice_of_a_stop_is_checked_and_an_unknown_storage_does_not_fail_it() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let bad = format!("/v1/stop/{id}?container_log_storage=a%07b");
    let refused = world.call(Method::DELETE, &bad, crate::world::ADMIN, None).await;
    assert_eq!(refused.code, 400);
    assert!(refused.message().contains("container_log_storage"));
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.READY");
    world.delete(&format!("/v1/stop/{id}?container_log_storage=nobody-knows-it")).await.expect(200);
    world.end().await;
}
