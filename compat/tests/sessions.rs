//! Sessions on real containers: players who come and go at once, deployments that are started for them, and that end when
//! they have left.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::webhooks::Receiver;
use spawnpoint_compat::{Api, PATIENCE, Runtime, eventually, say};

spawnpoint_compat::on_each_runtime!(
    two_hundred_players_come_and_go_at_once_and_no_socket_is_sold_twice,
    a_deployment_is_started_for_a_session_told_of_and_ended_when_it_has_run_empty,
);

/// Players who come at once.
const PLAYERS: usize = 200;
/// Threads in which they come.
const CLIENTS: usize = 20;
const SOCKETS: u64 = 40;

fn seats(fields: &Value) -> Value {
    let mut settings = json!({"kind": "Seat", "sockets": SOCKETS, "autodeploy": true});
    spawnpoint_compat::api::lay_over(&mut settings, fields);
    json!({"session_config": settings})
}

fn join(api: &Api, version: &str, fields: &Value) -> Value {
    let mut body = json!({"app_name": "arena", "version_name": version, "ip_list": ["192.0.2.7"]});
    spawnpoint_compat::api::lay_over(&mut body, fields);
    api.post("/v1/session", &body).expect(200)
}

/// A player (or a match) after the other comes; every third leaves again. The sessions that stay.
fn come_and_go(api: &Api, version: &str, number: usize) -> Vec<Value> {
    let mut stay = Vec::new();
    for n in 0..number {
        let session = join(api, version, &json!({}));
        assert!(session["deployment_request_id"].is_string(), "autodeploy finds a place: {session}");
        if n % 3 == 2 {
            let path = format!("/v1/session/{}", text(&session, "session_id"));
            let _ = api.delete(&path).expect(200);
        } else {
            stay.push(session);
        }
    }
    stay
}

/// What the status of each deployment says of its sockets, while it is looked at.
fn usage(api: &Api) -> Vec<(String, u64, usize)> {
    let row = |item: &Value| {
        let id = text(item, "request_id");
        let status = api.status(&id);
        let sessions = status["sessions"].as_array().unwrap().len();
        assert_eq!(status["sockets_usage"], json!(sessions), "each session is one socket here: {status}");
        (id, status["sockets_usage"].as_u64().unwrap(), sessions)
    };
    api.list().iter().map(row).collect()
}

fn two_hundred_players_come_and_go_at_once_and_no_socket_is_sold_twice(runtime: &Runtime) {
    let (server, _installation) = runtime.start();
    server.api.describe("arena", "seats", runtime.image(), &seats(&json!({})));
    server.api.describe("arena", "matches", runtime.image(), &seats(&json!({"kind": "Match"})));
    for version in ["seats", "matches"] {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let api = server.api.clone();
                std::thread::spawn(move || come_and_go(&api, version, PLAYERS / CLIENTS))
            })
            .collect();
        for _ in 0..10 {
            for (id, taken, _) in usage(&server.api) {
                assert!(taken <= SOCKETS, "{id} is oversold: {taken}");
            }
        }
        let stay: Vec<Value> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        let on: BTreeSet<String> =
            stay.iter().map(|session| text(session, "deployment_request_id")).collect();
        for id in &on {
            let status = server.api.wait_for(id, "READY");
            assert_eq!(ask_udp(external(&status, "game"), "ping"), format!("pong {id}"));
        }
        let all = usage(&server.api);
        let taken: u64 = all.iter().map(|(_, taken, _)| taken).sum();
        assert_eq!(taken, stay.len() as u64, "what is shown is the truth");
        say(&format!(
            "{version}: {PLAYERS} came, {taken} stayed, on {} deployments of {SOCKETS} sockets",
            all.len()
        ));
        server.audit();
        for id in on {
            server.api.stop(&id);
        }
        let sessions = server.api.get("/v1/sessions").expect(200);
        assert_eq!(sessions["total_count"], 0, "they end with their deployments");
    }
    server.audit();
}

fn a_deployment_is_started_for_a_session_told_of_and_ended_when_it_has_run_empty(runtime: &Runtime) {
    if !runtime.has_time_for_this() {
        return;
    }
    let receiver = Receiver::open();
    let (mut server, _installation) = runtime.start();
    let api = server.api.clone();
    api.describe("arena", "auto", runtime.image(), &seats(&json!({"empty_ttl": 1, "sockets": 2})));
    let selectors = json!([{"tag": "ranked", "env": {"key": "MODE", "value": "duel"}}]);
    let asked = json!({"selectors": selectors, "webhook_url": receiver.url("/session")});
    let session = join(&api, "auto", &asked);
    let (id, name) = (text(&session, "deployment_request_id"), text(&session, "session_id"));
    let told = eventually("the session is told of", PATIENCE, || {
        receiver.received().into_iter().find(|received| received.path == "/session")
    });
    let told = told.json();
    assert_eq!((&told["session_id"], &told["ready"]), (&json!(name), &json!(true)), "{told}");
    let port = u16::try_from(told["deployment"]["ports"]["game"]["external"].as_u64().unwrap()).unwrap();
    assert_eq!(ask_udp(port, "ping"), format!("pong {id}"));
    assert_eq!(ask_udp(port, "env MODE"), "duel");
    assert_eq!(ask_udp(port, "env ARBITRIUM_DEPLOYMENT_TAGS"), "ranked");

    // One more player fits, two do not: those have another one started.
    let second = join(&api, "auto", &json!({"selectors": selectors}));
    assert_eq!(text(&second, "deployment_request_id"), id);
    let third = join(&api, "auto", &json!({"selectors": selectors}));
    let other = text(&third, "deployment_request_id");
    assert_ne!(other, id);
    let closed = api.patch(&format!("/v1/deployments/{other}"), &json!({"is_joinable_by_session": false}));
    let _ = closed.expect(200);
    let named = json!({"app_name": "arena", "deployment_request_id": other, "ip_list": ["192.0.2.1"]});
    assert_eq!(api.post("/v1/session", &named).status, 409, "it may not be joined");

    // Both leave the first one. It ends a minute later, and the other one, with its session, does not.
    server.kill();
    server.restart();
    for session in [&session, &second] {
        let _ = api.delete(&format!("/v1/session/{}", text(session, "session_id"))).expect(200);
    }
    assert_eq!(api.status(&id)["sockets_usage"], 0);
    let _ = api.wait_for_within(&id, "TERMINATED", Duration::from_secs(90));
    assert_eq!(api.wait_for(&other, "READY")["sockets_usage"], 1);
    api.stop(&other);
    server.audit();
}
