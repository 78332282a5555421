//! A private fleet of two hosts and a shared host on one engine (the layout of `examples/private-fleet.toml`), with real
//! containers: the named hosts in their order, then the shared one; cordon, drain, giving up, with `kill -9` in between.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use spawnpoint_compat::api::{deployment, external, text};
use spawnpoint_compat::http::encode;
use spawnpoint_compat::player::ask_udp;
use spawnpoint_compat::ports::Ports;
use spawnpoint_compat::{Api, PATIENCE, Runtime, Server, eventually, say};

spawnpoint_compat::on_each_runtime!(
    named_hosts_fill_up_in_order_then_the_shared_one_and_a_drain_moves_no_match_elsewhere,
);

/// Each has room for two deployments of 128 units.
const HOSTS: [(&str, bool); 3] = [("stage-1", true), ("stage-2", true), ("shared-1", false)];
/// All of them, and the one that is added while the server runs.
const EVERY_HOST: [&str; 4] = ["stage-1", "stage-2", "shared-1", "cup-1"];
const HOST_LIST: &str = "/v2/private-fleets/tournament/hosts";

fn configuration(driver: &str, ports: &Ports) -> String {
    configuration_of(driver, ports, 3)
}

/// The same where the ports are for so many hosts.
fn configuration_of(driver: &str, ports: &Ports, hosts: u16) -> String {
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
            ports.games(index, hosts)
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
    for host in EVERY_HOST {
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

fn named_hosts_fill_up_in_order_then_the_shared_one_and_a_drain_moves_no_match_elsewhere(runtime: &Runtime) {
    let (mut server, installation) = runtime.start_with(|ports| configuration(runtime.driver(), ports));
    let api = server.api.clone();
    api.describe("arena", "v1", runtime.image(), &json!({}));
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
            installation.containers().into_iter().map(|container| container.deployment).collect();
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

#[test]
fn a_host_that_is_added_while_the_server_runs_takes_a_private_deployment_and_survives_a_kill() {
    // Hosts of the embedded runtime stand in the configuration.
    let Some(runtime) = Runtime::docker() else { return };
    let mut range = String::new();
    let (mut server, installation) = runtime.start_with(|ports| {
        range = ports.games(3, 4);
        configuration_of(runtime.driver(), ports, 4)
    });
    let api = server.api.clone();
    api.describe("arena", "v1", runtime.image(), &json!({}));

    // Nothing that the configuration does not have can be named.
    let named = |endpoint: &str| {
        let body =
            json!({"host_id": "cup-1", "site": "frankfurt", "endpoint": endpoint, "port_range": range});
        let refused = api.post("/spawnpoint/v1/hosts", &body).expect(400);
        assert!(text(&refused, "message").starts_with("endpoint: "), "{endpoint}: {refused}");
    };
    named("unix:///run/somebody-else.sock");
    named("tcp://127.0.0.1:2375");
    named("tcp://203.0.113.7:2376");

    let ran = |server: &Server, arguments: &[&str], code: i32| {
        let outcome = server.run(arguments);
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {}", outcome.text);
        outcome.text
    };
    ran(&server, &["fleet", "create", "cup"], 0);
    let add = [
        "host",
        "add",
        "cup-1",
        "--site",
        "frankfurt",
        "--private-fleet",
        "cup",
        "--port-range",
        &range,
        "--cpu-units",
        "256",
        "--memory-mib",
        "256",
    ];
    let added = ran(&server, &add, 0);
    assert!(added.contains("cup-1") && added.contains(" api "), "{added}");
    let first = deploy(&api, &["cup-1"]);
    assert_eq!((places(&api)[&first], told(&api, &first).as_str()), ("cup-1", "cup"));

    server.kill();
    server.restart();
    assert_eq!(ask_udp(external(&api.status(&first), "game"), "ping"), format!("pong {first}"));
    let second = deploy(&api, &["cup-1"]);
    assert_eq!(places(&api)[&second], "cup-1", "it is known after the restart");
    let third = deploy(&api, &["cup-1"]);
    assert_eq!(places(&api)[&third], "shared-1", "and what is held on it as well");
    server.audit();

    let refused = ran(&server, &["host", "remove", "cup-1"], 1);
    assert!(refused.contains("in use"), "{refused}");
    ran(&server, &["host", "drain", "cup-1", "--stop", "--wait", "2m"], 0);
    eventually("its containers are gone", PATIENCE, || (installation.containers().len() == 1).then_some(()));
    ran(&server, &["host", "remove", "cup-1"], 0);
    ran(&server, &["fleet", "delete", "cup"], 0);
    let declared = ran(&server, &["host", "remove", "stage-1"], 1);
    assert!(declared.contains("configuration"), "{declared}");
    assert!(!ran(&server, &["fleet", "list"], 0).contains("cup"));
    api.stop(&third);
    server.audit();
}

/// What a command prints, if it can be run and is content.
fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn an_added_host_has_a_name_a_certificate_and_access_lists_as_one_of_the_configuration() {
    // Hosts of the embedded runtime stand in the configuration.
    let Some(runtime) = Runtime::docker() else { return };
    if ["curl", "dig"].iter().any(|program| printed(program, &["-V"]).or(printed(program, &["-v"])).is_none())
    {
        return say("skipped: there is no curl or no dig (Debian: bind9-dnsutils)");
    }
    let (mut range, mut names) = (String::new(), String::new());
    let (server, _installation) = runtime.start_with(|ports| {
        (range, names) = (ports.games(3, 4), ports.names().to_string());
        let rest = configuration_of(runtime.driver(), ports, 4);
        format!("[domain]\nsuffix = \"play.test\"\n[dns]\nlisten = [\"127.0.0.1:{names}\"]\n{rest}")
    });
    let api = &server.api;
    let ports = json!([
        {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
        {"name": "web", "port": 8080, "protocol": "HTTP", "to_check": true, "tls_upgrade": true},
    ]);
    api.describe("arena", "v1", runtime.image(), &json!({"whitelisting_active": true, "ports": ports}));
    let _ = api.post("/v1/app/arena/version/v1/whitelist", &json!({"cidr": "198.51.100.0/24"})).expect(200);
    // No host of the configuration has this address: the certificate is made anew for it.
    let host = json!({
        "host_id": "cup-1", "site": "frankfurt", "public_address": "127.0.0.2", "port_range": range,
        "private_fleet": "tournament", "capacity": {"cpu_units": 256, "memory_mib": 256},
    });
    let _ = api.post("/spawnpoint/v1/hosts", &host).expect(201);
    let id = deploy(api, &["cup-1"]);
    assert_eq!(places(api)[&id], "cup-1");
    let status = api.status(&id);

    let name = text(&status, "fqdn");
    let told = printed("dig", &["@127.0.0.1", "-p", &names, "+short", &name, "A"]).unwrap();
    assert_eq!(told.trim(), "127.0.0.2");

    let game = UdpSocket::bind("0.0.0.0:0").unwrap();
    // An engine's proxy answers datagrams from this address, whichever was asked.
    game.connect(("127.0.0.1", external(&status, "game"))).unwrap();
    game.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let is_answered = || game.send(b"ping").is_ok() && game.recv(&mut [0; 64]).is_ok();
    assert!(!is_answered(), "nobody here is on the list");
    let _ = api.post("/v1/app/arena/version/v1/whitelist", &json!({"cidr": "127.0.0.0/8"})).expect(200);
    eventually("it is answered", PATIENCE, || is_answered().then_some(()));

    let authority = server.data_dir().join("ca.pem").display().to_string();
    let url = format!("https://127.0.0.2:{}/lobby", external(&status, "web"));
    let page = printed("curl", &["-sS", "-m", "20", "--noproxy", "*", "--cacert", &authority, &url]);
    assert!(page.unwrap().contains("GET /lobby HTTP/1.1"));
    api.stop(&id);
    server.audit();
}
