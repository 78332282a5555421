//! Smart fleets on real containers: what is wanted is there again, whatever is killed, and what always fails costs little.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::text;
use spawnpoint_compat::http::encode;
use spawnpoint_compat::random::Random;
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::{Api, Runtime, eventually, long, say};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    the_minimum_is_there_again_whatever_is_killed,
    what_always_fails_costs_at_most_ten_containers_in_five_minutes,
);

const MINIMUM: usize = 3;
const MAXIMUM: usize = 4;
/// How long a fleet may take to have what it wants again.
const SETTLES: Duration = Duration::from_secs(90);

fn seats(fields: &Value) -> Value {
    let mut version = json!({"session_config": {"kind": "Seat", "sockets": 2}, "restart_policy": "never"});
    spawnpoint_compat::api::lay_over(&mut version, fields);
    version
}

fn start_fleet(api: &Api) {
    let _ = api.post("/v1/fleet", &json!({"name": "all", "enabled": true})).expect(200);
    let filters = json!([{"field": "city", "values": ["Montreal"], "filter_type": "any"}]);
    let policy = json!({
        "name": "here", "enabled": true, "type": "Location", "minimum": MINIMUM, "maximum": MAXIMUM,
        "threshold": 1, "data": {"filters": filters}
    });
    let _ = api.post("/v1/fleet/all/policies", &policy).expect(200);
    let _ = api.call("PUT", "/v1/fleet/all/app/arena/version/seats", None).expect(200);
}

/// The deployments of the fleet that are listed: those in error too.
fn deployments(api: &Api) -> Vec<Value> {
    let query = json!({"filters": [{"field": "fleet_name", "operator": "eq", "value": "all"}]}).to_string();
    let list = api.get(&format!("/v1/deployments?limit=100&query={}", encode(&query))).expect(200);
    list["data"].as_array().unwrap().clone()
}

fn ready(api: &Api) -> BTreeSet<String> {
    let is_ready = |item: &&Value| item["status"] == "Status.READY";
    deployments(api).iter().filter(is_ready).map(|item| text(item, "request_id")).collect()
}

/// Waits until exactly the wanted ones are ready, each with its one container, and nothing else has one.
fn settle(api: &Api, installation: &Installation) -> BTreeSet<String> {
    eventually("the fleet has what it wants, and nothing else runs", SETTLES, || {
        let ready = ready(api);
        let containers = installation.containers();
        let running: Vec<String> = containers.into_iter().map(|container| container.deployment).collect();
        let distinct: BTreeSet<String> = running.iter().cloned().collect();
        assert_eq!(distinct.len(), running.len(), "two containers for one deployment: {running:?}");
        (ready.len() == MINIMUM && distinct == ready).then_some(ready)
    })
}

fn the_minimum_is_there_again_whatever_is_killed(runtime: &Runtime) {
    let rounds = if long() { 20 } else { 6 };
    let mut random = Random::new();
    let (mut server, installation) = runtime.start();
    server.api.describe("arena", "seats", runtime.image(), &seats(&json!({})));
    start_fleet(&server.api);
    let _ = settle(&server.api, &installation);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        // A container is taken away, and every second time the control plane dies in the midst of what it does about it.
        let all: Vec<String> = ready(&server.api).into_iter().collect();
        if let Some(victim) = random.pick(&all) {
            installation.remove_container(victim);
        }
        let began = Instant::now();
        if round % 2 == 1 {
            std::thread::sleep(random.millis(0, 700));
            server.kill();
            std::thread::sleep(random.millis(0, 300));
            server.restart();
        }
        for _ in 0..10 {
            let containers = installation.containers().len();
            assert!(containers <= MAXIMUM, "{containers} containers, at most {MAXIMUM} are wanted");
            std::thread::sleep(random.millis(10, 60));
        }
        let _ = settle(&server.api, &installation);
        slowest = slowest.max(began.elapsed());
    }
    server.audit();

    // Sessions fill the newest, and one more comes; at the maximum nothing more does.
    let join = || {
        let body =
            json!({"app_name": "arena", "version_name": "seats", "ip_list": ["192.0.2.1", "192.0.2.2"]});
        let session = server.api.post("/v1/session", &body).expect(200);
        session["deployment_request_id"].as_str().map(str::to_owned)
    };
    let mut on = BTreeSet::new();
    for _ in 0..MINIMUM {
        on.extend(join());
    }
    assert_eq!(on.len(), MINIMUM);
    eventually("one more is started", SETTLES, || (ready(&server.api).len() == MAXIMUM).then_some(()));
    assert!(join().is_some_and(|id| !on.contains(&id)), "the new one is joined");
    assert_eq!(join(), None, "it is unprocessable");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        deployments(&server.api).iter().filter(|item| item["status"] != "Status.ERROR").count(),
        MAXIMUM
    );

    let _ = server.api.delete("/v1/fleet/all").expect(200);
    assert_eq!(ready(&server.api).len(), MAXIMUM, "what runs goes on");
    for item in server.api.list() {
        server.api.stop(&text(&item, "request_id"));
    }
    assert_eq!(installation.containers(), []);
    server.audit();
    say(&format!("{rounds} rounds, {MINIMUM} were there again after at most {} ms", slowest.as_millis()));
}

fn what_always_fails_costs_at_most_ten_containers_in_five_minutes(runtime: &Runtime) {
    if !runtime.has_time_for_this() {
        return;
    }
    let (server, installation) = runtime.start();
    let broken = json!({"envs": [{"key": "GAME_MODE", "value": "exit:3", "is_hidden": false}]});
    server.api.describe("arena", "seats", runtime.image(), &seats(&broken));
    start_fleet(&server.api);
    let watched = Duration::from_secs(if long() { 300 } else { 20 });
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < watched {
        let made = deployments(&server.api);
        most = most.max(made.len());
        assert!(made.len() <= 10, "{} deployments after {} s", made.len(), began.elapsed().as_secs());
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(most >= MINIMUM, "it is tried");
    // Mended, it is there.
    let mended = json!({"envs": []});
    let _ = server.api.patch("/v1/app/arena/version/seats", &mended).expect(200);
    eventually("the mended version runs", SETTLES, || (ready(&server.api).len() == MINIMUM).then_some(()));
    let _ = server.api.delete("/v1/fleet/all").expect(200);
    for item in server.api.list() {
        server.api.stop(&text(&item, "request_id"));
    }
    assert_eq!(installation.containers(), []);
    server.audit();
    say(&format!("{most} deployments of a version that always fails in {} s", watched.as_secs()));
}
