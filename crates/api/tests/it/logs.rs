//! Logs, the flight recorder and the live stream: an answer in every state, and an end to every stream.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::schemas::check_v1;
use crate::world::{ADMIN, World};

impl World {
    async fn container_logs(&self, id: &str) -> Value {
        let body = self.get(&format!("/v1/deployment/{id}/container-logs")).await.expect(200);
        check_v1("api-model-containerlogs", &body);
        assert_eq!(body["encoding"], "utf-8");
        body
    }

    async fn stop_and_wait(&self, id: &str) {
        self.delete(&format!("/v1/stop/{id}")).await.expect(200);
        self.until(id, "TERMINATED").await;
    }

    /// Opens a stream of events.
    async fn follow(&self, id: &str, last_seen: Option<&str>) -> Events {
        let mut request =
            Request::get(format!("/v2/deployments/{id}/logs?follow=true")).header("authorization", ADMIN);
        if let Some(last_seen) = last_seen {
            request = request.header("last-event-id", last_seen);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        Events { stream: response.into_body().into_data_stream(), text: String::new() }
    }
}

struct Events {
    stream: BodyDataStream,
    text: String,
}

impl Events {
    /// The next event: its name and its data. `None` = the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let found = field("event: ").zip(field("data: "));
                self.text = rest.to_owned();
                if let Some((name, data)) = found {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
            }
            let piece = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await;
            let Ok(piece) = piece else { panic!("the stream says nothing for 20 s") };
            let piece = piece?;
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    async fn until(&mut self, name: &str) -> (Value, Vec<(String, Value)>) {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Some((event, data)) if event == name => return (data, before),
                Some(event) => before.push(event),
                None => panic!("the stream ended without {name}: {before:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_there_in_every_state_and_after_the_end() {
    let world = World::with_arena().await;
    world.create_version("arena", "slow", "fake/game", "start-delay-700ms.log-6").await;
    let id = world.deploy("slow").await;
    let early = world.container_logs(&id).await;
    assert_eq!(
        (&early["crash_logs"], &early["crash_data"], &early["logs_link"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    world.until(&id, "READY").await;
    let live = world.container_logs(&id).await;
    let text = live["logs"].as_str().unwrap();
    assert_eq!(text.lines().count(), 6);
    assert!(text.ends_with(", line 6\n"), "{text}");
    world.stop_and_wait(&id).await;
    let kept = world.container_logs(&id).await;
    assert!(kept["logs"].as_str().unwrap().starts_with(text), "{kept}");
    assert_eq!(kept["crash_data"], Value::Null, "it was asked to end");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_no_host_could_take_has_an_empty_log_and_a_record() {
    let world = World::with_arena().await;
    let mut body = crate::world::deployment("v1");
    body["location_filters"] = json!([]);
    world.create_version("arena", "missing", "fake/game", "image-missing").await;
    let id = world.deploy("missing").await;
    world.until(&id, "ERROR").await;
    assert_eq!(world.container_logs(&id).await["logs"], "");
    let record = world.get(&format!("/v2/deployments/{id}/events")).await.expect(200);
    assert_eq!((&record["status"], &record["exit"]), (&json!("Status.ERROR"), &Value::Null));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_told_after_the_restart_and_after_the_end() {
    let world = World::with_arena().await;
    world.create_version("arena", "crashing", "fake/game", "oom-after-300ms").await;
    let id = world.deploy_ready("crashing").await;
    let first = world.container_logs(&id).await["logs"].as_str().unwrap().to_owned();
    assert!(first.contains(&format!("{id}-1")), "{first}");
    let mut crashed = Value::Null;
    for _ in 0..1000 {
        crashed = world.container_logs(&id).await;
        // The next attempt waits for its turn, and has written nothing yet.
        if crashed["logs"] == "" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(crashed["crash_data"], json!({"exit_code": 137, "message": "OOM killed", "restart_count": 1}));
    assert_eq!(crashed["crash_logs"], format!("{first}fake: exited with 137\n"));
    assert_eq!(world.get(&format!("/v1/status/{id}")).await.expect(200)["current_status"], "Status.READY");
    world.stop_and_wait(&id).await;
    let ended = world.container_logs(&id).await;
    assert_eq!(ended["crash_data"]["message"], "OOM killed");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_formats_are_text_and_ndjson_and_nothing_else() {
    let world = World::with_arena().await;
    world.create_version("arena", "loud", "fake/game", "log-5").await;
    let id = world.deploy_ready("loud").await;
    let path = format!("/v1/deployment/{id}/container-logs");
    let ndjson = world.get(&format!("{path}?format=ndjson")).await.expect(200);
    let lines: Vec<Value> =
        ndjson["logs"].as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|line| line["stream"].as_str().unwrap()).collect::<Vec<_>>(),
        ["stdout", "stdout", "stdout", "stdout", "stderr"]
    );
    assert!(lines[4]["log"].as_str().unwrap().ends_with("line 5"));
    for (path, field) in [
        (format!("{path}?format=xml"), "format"),
        (format!("/v2/deployments/{id}/logs?follow=maybe"), "follow"),
    ] {
        let refused = world.get(&path).await;
        assert_eq!(refused.code, 400);
        assert!(refused.message().starts_with(field), "{refused:?}");
    }
    let text = world.get(&format!("/v2/deployments/{id}/logs")).await;
    assert_eq!(
        (text.code, &text.headers["content-type"]),
        (200, &"text/plain; charset=utf-8".parse().unwrap())
    );
    assert_eq!(text.headers["x-content-type-options"], "nosniff");
    assert_eq!(text.text.lines().count(), 5);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_known_is_not_found() {
    let world = World::new().await;
    for id in ["000000000000", "nonsense", "%00"] {
        for path in [
            format!("/v1/deployment/{id}/container-logs"),
            format!("/v2/deployments/{id}/events"),
            format!("/v2/deployments/{id}/logs"),
            format!("/v2/deployments/{id}/logs?follow=true"),
        ] {
            let answer = world.get(&path).await;
            assert_eq!(answer.code, 404, "{path}: {answer:?}");
            assert!(!answer.message().is_empty());
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flight_recorder_tells_the_whole_course() {
    let world = World::with_arena().await;
    world.create_version("arena", "leaving", "fake/game", "term-exit-7").await;
    let id = world.deploy_ready("leaving").await;
    world.stop_and_wait(&id).await;
    let record = world.get(&format!("/v2/deployments/{id}/events")).await.expect(200);
    assert_eq!((&record["request_id"], &record["status"]), (&json!(id), &json!("Status.TERMINATED")));
    assert_eq!(record["exit"], json!({"code": 7, "oom": false, "message": "ended with exit code 7"}));
    assert_eq!((&record["restarts"], &record["peak"]), (&json!(0), &Value::Null));
    assert!(record["placement"][0].as_str().unwrap().starts_with("lyon-1 (lyon): chosen"), "{record:#}");
    let kinds: Vec<&str> =
        record["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["placed", "starting", "ready", "stop_requested", "stopping", "terminated"]);
    for event in record["events"].as_array().unwrap() {
        assert!(event["at"].as_str().unwrap().ends_with('Z') && event["detail"].is_object(), "{event}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followed_log_begins_with_what_was_written_and_ends_with_the_deployment() {
    let world = World::with_arena().await;
    world.create_version("arena", "loud", "fake/game", "log-5").await;
    let id = world.deploy_ready("loud").await;
    let mut events = world.follow(&id, None).await;
    for n in 1..=5 {
        let (name, data) = events.next().await.unwrap();
        assert_eq!(name, if n == 5 { "stderr" } else { "stdout" });
        assert!(data["log"].as_str().unwrap().ends_with(&format!("line {n}")), "{data}");
    }
    world.delete(&format!("/v1/stop/{id}")).await.expect(200);
    let (end, before) = events.until("end").await;
    assert_eq!(end["status"], "Status.TERMINATED");
    assert!(before.iter().any(|(_, data)| data["log"] == "fake: exited with 0"), "{before:?}");
    assert_eq!(events.next().await, None);
    // Of what has ended there is the same to see.
    let (_, kept) = world.follow(&id, None).await.until("end").await;
    assert_eq!(kept.len(), 6);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_over_a_restart_of_the_container() {
    let world = World::with_arena().await;
    world.create_version("arena", "crashing", "fake/game", "exit-3-after-300ms").await;
    let id = world.deploy("crashing").await;
    let mut events = world.follow(&id, None).await;
    let restarted = async {
        loop {
            world.clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (data, before) = tokio::select! {
        found = events.until("restart") => found,
        () = restarted => unreachable!(),
    };
    assert!(data["attempt"].as_u64().unwrap() >= 2);
    assert!(before.iter().any(|(_, data)| data["log"] == "fake: exited with 3"), "{before:?}");
    let (_, line) = events.next().await.unwrap();
    assert!(line["log"].as_str().unwrap().contains(&format!("{id}-{}", data["attempt"])), "{line}");
    drop(events);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_follows_a_bounded_number_of_logs_and_the_server_ends_them_all() {
    let world = World::with_arena().await;
    let id = world.deploy_ready("v1").await;
    let mut all = Vec::new();
    for _ in 0..16 {
        all.push(world.follow(&id, Some("9000000000000000")).await);
    }
    let path = format!("/v2/deployments/{id}/logs?follow=true");
    let refused = world.get(&path).await;
    assert_eq!((refused.code, &refused.headers["retry-after"]), (429, &"10".parse().unwrap()));
    drop(all.pop());
    all.push(world.follow(&id, None).await);
    world.api.close();
    for events in &mut all {
        while events.next().await.is_some() {}
    }
    drop(all);
    assert_eq!(world.get(&path).await.text, "", "one that comes later ends at once");
    world.end().await;
}
