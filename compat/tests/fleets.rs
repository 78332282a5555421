//! A private fleet of two hosts and a shared host on one engine (the layout of `examples/private-fleet.toml`), with real
//! containers: the named hosts in their order, then the shared one; cordon, drain, giving up, with `kill -9` in between.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::docker::{self, Engine};
use spawnpoint_compat::http::encode;
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::{Api, PATIENCE, Server, eventually, say};

/// Each has room for two deployments of 128 units.
const HOSTS: [(&str, bool); 3] = [("stage-1", true), ("stage-2", true), ("shared-1", false)];
const HOST_LIST: &str = "/v2/private-fleets/tournament/hosts";

fn configuration(driver: &str, ports: &Ports) -> String {
    let example = include_str!("../../examples/private-fleet.toml");
    let mut text = String::from(
        "[[private_fleet]]\nname = \"tournament\"\n\
         centroid = { label = \"Rhine-Main\", latitude = 50.11, longitude = 8.68, radius_km = 100, desired_host_count = 2 }\n\
         [[site]]\nname = \"frankfurt\"\ncity = \"Frankfurt am Main\"\ncountry = \"Germany\"\ncontinent = \"Europe\"\n\
         latitude = 50.11\nlongitude = 8.68\n",
    );
    for (index, (name, private)) in (0..).zip(HOSTS) {
        // The example moved on without this test, if it does not know the host.
        assert!(example.contains(&format!("name = \"{name}\"")), "{name}");
        let fleet = if private { "private_fleet = \"tournament\"\n" } else { "" };
        text.push_str(&format!(
            "[[site.host]]\nname = \"{name}\"\ndriver = \"{driver}\"\nport_range = \"{}\"\n{fleet}\
             capacity = {{ cpu_units = 256, memory_mib = 256 }}\n",
            ports.games(index, 3)
        ));
    }
    text
}

fn naming(hosts: &[&str]) -> Value {
    deployment("arena", "v1", &json!({"private_host_ids": hosts}))
}

/// Deploys to named hosts and waits until it is ready; the id.
fn deploy(api: &Api, hosts: &[&str]) -> String {
    let id = text(&api.post("/v2/private-fleets/deployments", &naming(hosts)).expect(202), "request_id");
    let _ = api.wait_for(&id, "READY");
    id
}

/// On which host each deployment is.
fn places(api: &Api) -> BTreeMap<String, &'static str> {
    let mut places = BTreeMap::new();
    for (host, _) in HOSTS {
        let query = json!({"filters": [{"field": "host_name", "operator": "eq", "value": host}]}).to_string();
        let list = api.get(&format!("/v1/deployments?query={}", encode(&query))).expect(200);
        for item in list["data"].as_array().into_iter().flatten() {
            places.insert(text(item, "request_id"), host);
        }
    }
    places
}

/// Status and CPU units that are held, of each host that the fleet lists.
fn listed(api: &Api) -> Vec<(String, String, u64)> {
    let list = api.get(HOST_LIST).expect(200);
    let hosts = list["data"].as_array().cloned().unwrap_or_default();
    assert_eq!(list["total_count"], json!(hosts.len()));
    let shown = |host: &Value| {
        let held = host["allocated_cpu_units"].as_u64().unwrap_or_default();
        (text(host, "host_id"), text(host, "status"), held)
    };
    hosts.iter().map(shown).collect()
}

fn shown(hosts: &[(&str, &str, u64)]) -> Vec<(String, String, u64)> {
    hosts.iter().map(|(id, status, held)| ((*id).to_owned(), (*status).to_owned(), *held)).collect()
}

/// `spawnpoint host …`, which must succeed.
fn host(server: &Server, arguments: &[&str]) -> String {
    let outcome = server.run(&[&["host"], arguments].concat());
    assert_eq!(outcome.code, Some(0), "host {arguments:?}: {}", outcome.text);
    outcome.text
}

/// Why a deployment is where it is, a line for each host.
fn reasons(api: &Api, id: &str) -> String {
    let record = api.get(&format!("/v2/deployments/{id}/events")).expect(200);
    let lines = record["placement"].as_array().cloned().unwrap_or_default();
    lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The fleet of a deployment, as its own container was told.
fn told(api: &Api, id: &str) -> String {
    ask_udp(external(&api.status(id), "game"), "env ARBITRIUM_PRIVATE_FLEET_ID")
}

#[test]
fn named_hosts_fill_up_in_order_then_the_shared_one_and_a_drain_moves_no_match_elsewhere() {
    let Some(engine) = docker::engine() else { return };
    let mut server = Server::start(|ports| configuration("docker", ports));
    let installation = server.installation(&engine);
    let api = server.api.clone();
    api.describe("arena", "v1", engine.image(), &json!({}));
    assert_eq!(listed(&api), shown(&[("stage-1", "ACTIVE", 0), ("stage-2", "ACTIVE", 0)]));

    // Both private hosts fill up in the order asked for; the fifth goes to the shared one.
    let ids: Vec<String> = (0..5).map(|_| deploy(&api, &["stage-2", "nobody", "stage-1"])).collect();
    let went: Vec<&str> = ids.iter().map(|id| places(&api)[id]).collect();
    assert_eq!(went, ["stage-2", "stage-2", "stage-1", "stage-1", "shared-1"]);
    assert_eq!(told(&api, &ids[0]), "tournament");
    assert_eq!(told(&api, &ids[4]), "PUBLIC_CLOUD");
    assert_eq!(listed(&api), shown(&[("stage-1", "ACTIVE", 256), ("stage-2", "ACTIVE", 256)]));

    let query =
        json!({"filters": [{"field": "fleet_name", "operator": "eq", "value": "tournament"}]}).to_string();
    let found = api.get(&format!("/v1/deployments?query={}", encode(&query))).expect(200);
    assert_eq!(found["total_count"], json!(4), "the shared host is in no fleet");

    // Why is told: the first of them, and the one that found both full.
    let (first, fifth) = (reasons(&api, &ids[0]), reasons(&api, &ids[4]));
    assert!(first.contains("stage-2 (frankfurt): chosen, preferred host 1"), "{first}");
    assert!(fifth.contains("nobody: passed over, there is no such host"), "{fifth}");
    for full in ["stage-1", "stage-2"] {
        assert!(
            fifth.contains(&format!("{full} (frankfurt): full: 128 CPU units asked for and 0 free")),
            "{fifth}"
        );
    }
    assert!(fifth.contains("shared-1 (frankfurt): chosen"), "{fifth}");

    // Who names no host gets none of the fleet's; when the shared one is full too, nobody gets anything.
    let plain = api.deploy("arena", "v1", &json!({}));
    let _ = api.wait_for(&plain, "READY");
    assert_eq!(places(&api)[&plain], "shared-1");
    for path in ["/v2/private-fleets/deployments", "/v2/private-fleets:deploy"] {
        let refused = api.post(path, &naming(&["stage-1", "stage-2"])).expect(422);
        say(&format!("a full fleet and a full world say: {}", text(&refused, "message")));
        let id = text(&refused, "request_id");
        assert_eq!(api.status(&id)["current_status"], json!("Status.ERROR"));
        api.stop(&id);
    }
    let unknown = api.post("/v2/private-fleets/deployments", &naming(&["nobody"])).expect(400);
    assert!(unknown["details"]["private_host_ids"].is_string(), "{unknown}");

    // A drain ends what runs on its host and nothing else.
    let drained = host(&server, &["drain", "stage-2", "--stop", "--wait", "2m"]);
    assert!(drained.contains("stage-2 is empty"), "{drained}");
    for id in &ids[..2] {
        assert_eq!(api.status(id)["current_status"], json!("Status.TERMINATED"));
        let told = api.get(&format!("/v2/deployments/{id}/events")).expect(200).to_string();
        assert!(told.contains(r#""cause":"drained""#), "{told}");
    }
    for id in ids[2..].iter().chain([&plain]) {
        assert_eq!(ask_udp(external(&api.status(id), "game"), "ping"), format!("pong {id}"));
    }
    eventually("their containers are gone", PATIENCE, || {
        let left: Vec<String> =
            engine.containers_of(&installation).iter().map(Engine::deployment_of).collect();
        (left.len() == 4 && !left.contains(&ids[0]) && !left.contains(&ids[1])).then_some(())
    });
    assert_eq!(listed(&api), shown(&[("stage-1", "ACTIVE", 256), ("stage-2", "PENDING", 0)]));

    // It lasts over the death of the control plane, and until it is taken back.
    server.kill();
    server.restart();
    assert_eq!(listed(&api)[1], shown(&[("stage-2", "PENDING", 0)])[0]);
    assert!(host(&server, &["list"]).contains("drained"));
    api.stop(&ids[4]);
    let elsewhere = deploy(&api, &["stage-2"]);
    assert_eq!(places(&api)[&elsewhere], "shared-1", "its host is drained, and the shared one has room");
    host(&server, &["uncordon", "stage-2"]);
    let back = deploy(&api, &["stage-2"]);
    assert_eq!((places(&api)[&back], told(&api, &back).as_str()), ("stage-2", "tournament"));
    server.audit();
}

#[test]
fn a_host_is_given_up_at_its_time_and_one_that_waits_keeps_its_matches() {
    let server = Server::start(|ports| configuration("fake", ports));
    let api = &server.api;
    api.describe("arena", "v1", ("game", "1"), &json!({}));
    let (first, second) = (deploy(api, &["stage-1"]), deploy(api, &["stage-2"]));

    // A drain that waits: not empty in time, since the match plays on.
    let waiting = server.run(&["host", "drain", "stage-1"]);
    assert!(waiting.code == Some(0) && waiting.text.contains("draining (waits)"), "{}", waiting.text);
    assert_eq!(api.status(&first)["current_status"], json!("Status.READY"));
    api.stop(&first);
    eventually("it is drained", PATIENCE, || host(&server, &["list"]).contains(" drained ").then_some(()));

    // Given up: told beforehand, carried out at the time, and not listed any more.
    host(&server, &["delete", "stage-2", "--at", "30d"]);
    let list = api.get(HOST_LIST).expect(200);
    assert_eq!(list["data"][1]["status"], "ACTIVE");
    let schedule = &list["data"][1]["delete_schedule"];
    assert!(
        text(schedule, "uuid").len() == 36 && text(schedule, "scheduled_at").ends_with('Z'),
        "{schedule}"
    );
    assert_eq!(api.status(&second)["current_status"], json!("Status.READY"));
    host(&server, &["keep", "stage-2"]);
    assert_eq!(api.get(HOST_LIST).expect(200)["data"][1]["delete_schedule"], Value::Null);
    host(&server, &["delete", "stage-2", "--at", "2020-01-01T00:00:00Z"]);
    let _ = api.wait_for(&second, "TERMINATED");
    assert_eq!(listed(api), shown(&[("stage-1", "PENDING", 0)]));
    let refused = server.run(&["host", "uncordon", "stage-2"]);
    assert!(refused.code == Some(1) && refused.text.contains("deletion is over"), "{}", refused.text);
    host(&server, &["keep", "stage-2"]);
    host(&server, &["uncordon", "stage-2"]);
    let third = deploy(api, &["stage-1", "stage-2"]);
    assert_eq!(places(api)[&third], "stage-2");
    let nobody = server.run(&["host", "cordon", "nobody"]);
    assert!(nobody.code == Some(1) && nobody.text.contains("no host with this id"), "{}", nobody.text);
    server.audit();
}
