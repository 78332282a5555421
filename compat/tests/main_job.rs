//! The main job on real containers: from one HTTP request to packets of players, seen from both sides of the container.

#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use spawnpoint_compat::api::{external, text};
use spawnpoint_compat::player::{ask_tcp, ask_udp, local, tell_udp};
use spawnpoint_compat::runtime::Installation;
use spawnpoint_compat::webhooks::{Received, Receiver};
use spawnpoint_compat::{PATIENCE, Runtime, Server, eventually};
use tokio::time::Instant;

spawnpoint_compat::on_each_runtime!(
    one_request_becomes_a_game_that_answers_on_every_port_and_knows_its_own_environment,
    a_game_reads_its_context_and_stops_itself_and_signed_webhooks_say_so,
    a_container_is_held_tight_and_reaches_neither_neighbours_nor_the_host_nor_metadata,
    a_game_that_ignores_sigterm_is_killed_after_its_grace_and_not_before,
    a_process_that_ends_is_restarted_as_the_policy_says,
    what_went_wrong_is_named_whether_memory_ran_out_a_process_ended_or_a_port_stayed_closed,
);

/// Ends everything and looks for violations.
fn close(server: &Server, installation: &Installation) {
    for row in server.api.list() {
        server.api.stop(row["request_id"].as_str().unwrap());
    }
    assert_eq!(installation.containers(), []);
    server.audit();
}

/// A deployment of the version `v1` of `arena`, and its game port.
fn running(server: &Server, fields: &Value) -> (String, u16) {
    let id = server.api.deploy("arena", "v1", fields);
    let port = external(&server.api.wait_for(&id, "READY"), "game");
    (id, port)
}

/// UDP, TCP, both on one number, one-to-one mapped, and a name with a blank.
fn all_kinds_of_ports() -> Value {
    json!([
        {"name": "game", "port": 7777, "protocol": "UDP", "to_check": true},
        {"name": "query", "port": 7778, "protocol": "tcp", "to_check": true},
        {"name": "both", "port": 7779, "protocol": "TCP/UDP", "to_check": true},
        {"name": "direct", "port": 0, "protocol": "UDP", "to_check": true},
        {"name": "Game Port", "port": 0, "protocol": "TCP/UDP", "to_check": false},
        {"port": 7780, "protocol": "WS", "to_check": true},
    ])
}

fn one_request_becomes_a_game_that_answers_on_every_port_and_knows_its_own_environment(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let envs = json!([
        {"key": "MAP", "value": "dust", "is_hidden": false},
        {"key": "MODE", "value": "duel", "is_hidden": false},
        {"key": "LICENCE", "value": "a hidden one\u{e9}", "is_secret": true},
    ]);
    let fields = json!({"ports": all_kinds_of_ports(), "envs": envs});
    server.api.describe("zebra", "v1-zebra", runtime.image(), &fields);
    let own = json!([
        {"key": "MODE", "value": "ranked?a=1&b=%20", "is_hidden": false},
        {"key": "TICKET", "value": "zebra ticket", "is_hidden": true},
        {"key": "my key-1", "value": "", "is_hidden": false},
    ]);
    let id = server.api.deploy(
        "zebra",
        "v1-zebra",
        &json!({"tags": ["zebra", "eu west"], "environment_variables": own}),
    );
    let status = server.api.wait_for(&id, "READY");
    assert!(status["running"] == json!(true) && status["public_ip"] == json!("127.0.0.1"), "{status}");

    let port = |name: &str| external(&status, name);
    for udp in ["game", "both", "direct", "Game Port"] {
        assert_eq!(ask_udp(port(udp), "ping"), format!("pong {id}"), "{udp}");
        assert_eq!(ask_udp(port(udp), "a move"), "a move", "{udp}");
    }
    for tcp in ["query", "both", "Game Port", "7780"] {
        assert_eq!(ask_tcp(port(tcp), "ping"), format!("pong {id}"), "{tcp}");
    }
    for mapped in ["direct", "Game Port"] {
        assert_eq!(status["ports"][mapped]["internal"], status["ports"][mapped]["external"], "{mapped}");
    }
    // Over TCP: an empty datagram does not come through an engine's proxy.
    let variable = |name: &str| ask_tcp(port("query"), &format!("env {name}"));
    for (name, value) in [
        ("MAP", "dust"),
        ("MODE", "ranked?a=1&b=%20"),
        ("LICENCE", "a hidden one\u{e9}"),
        ("TICKET", "zebra ticket"),
        ("my_key_1", ""),
    ] {
        assert_eq!(variable(name), value, "{name}");
    }
    check_platform_variables(&id, &status, &variable);
    let given = installation.container(&id).environment;
    for empty in ["HOST_BEACON_PUBLIC_IP", "HOST_BEACON_PORT_UDP_EXTERNAL", "HOST_BEACON_PORT_TCP_EXTERNAL"] {
        assert!(given.contains(&format!("ARBITRIUM_{empty}=")), "{empty}");
    }
    let given = given.join("\n");
    assert!(!given.contains("ARBITRIUM_ENV_DEBUG") && !given.contains("ARBITRIUM_MOCK_ENV"));
    // Labels, names and networks of a container are the operator's and ours: no text of users is outside.
    let shown = installation.container(&id).shown;
    assert!(!shown.contains("zebra") && shown.contains(&id), "{shown}");
    close(&server, &installation);
}

/// Every variable of the platform, with the traps that its readers know.
fn check_platform_variables(id: &str, status: &Value, variable: &impl Fn(&str) -> String) {
    for (name, value) in [
        ("REQUEST_ID", id),
        ("PUBLIC_IP", "127.0.0.1"),
        ("DEPLOYMENT_TAGS", "zebra,eu west"),
        ("DEPLOYMENT_VCPU_UNITS", "128"),
        ("DEPLOYMENT_MEMORY_MB", "128"),
        ("HOST_ID", "host-1"),
        ("HOST_BASE_CLOCK_FREQUENCY", "3000"),
        ("HOST_IN_PRIVATE_FLEET", "false"),
        ("PRIVATE_FLEET_ID", "PUBLIC_CLOUD"),
        ("HOST_BEACON_ENABLED", "false"),
        ("BEACON_ENABLED", "false"),
    ] {
        assert_eq!(variable(&format!("ARBITRIUM_{name}")), value, "{name}");
    }
    for purpose in ["DELETE", "CONTEXT"] {
        let token = variable(&format!("ARBITRIUM_{purpose}_TOKEN"));
        assert!(
            token.len() == 32 && token.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{token}"
        );
        let url = variable(&format!("ARBITRIUM_{purpose}_URL"));
        let mut parts = url.rsplit('/');
        // bevygap reads the last part as an i32 and the one before it as the id.
        assert!(parts.next().unwrap().parse::<i32>().is_ok(), "{url}");
        assert_eq!(parts.next(), Some(id), "{url}");
    }
    let location = variable("ARBITRIUM_DEPLOYMENT_LOCATION");
    let location: Value = serde_json::from_str(&location).unwrap();
    assert_eq!(location, status["location"]);
    assert_eq!(location.as_object().unwrap().len(), 7);

    let mapping = variable("ARBITRIUM_PORTS_MAPPING");
    assert!(!mapping.contains(": ") && !mapping.contains(", "), "not compact: {mapping}");
    let mapping: Value = serde_json::from_str(&mapping).unwrap();
    let ports = mapping["ports"].as_object().unwrap();
    assert_eq!(ports.len(), 6);
    for (name, port) in ports {
        let shown = &status["ports"][name];
        for key in ["name", "internal", "external", "protocol", "link", "tls_upgrade"] {
            assert_eq!(port[key], shown[key], "{name}: {key}");
        }
        let part = name.to_uppercase().replace(' ', "_");
        for (key, field) in [("INTERNAL", "internal"), ("EXTERNAL", "external"), ("PROTOCOL", "protocol")] {
            let value = shown[field].as_str().map_or_else(|| shown[field].to_string(), str::to_owned);
            assert_eq!(variable(&format!("ARBITRIUM_PORT_{part}_{key}")), value, "{name}");
        }
    }
    assert_eq!(
        text(&ports["7780"], "link"),
        format!("ws://{id}.spawnpoint.localhost:{}", external(status, "7780"))
    );
}

fn a_game_reads_its_context_and_stops_itself_and_signed_webhooks_say_so(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    server.api.describe("arena", "v1", runtime.image(), &json!({}));
    let receiver = Receiver::open();
    let hook = |path: &str| json!({"url": receiver.url(path)});
    let hooks = json!({
        "webhook_on_ready": hook("/ready?x=1"), "webhook_on_error": hook("/error"), "webhook_on_terminated": hook("/end"),
    });
    let (id, port) = running(&server, &hooks);
    let context = ask_udp(port, "http-context");
    let (line, body) = context.split_once('{').unwrap();
    assert_eq!(line.trim_end(), "HTTP/1.1 200 OK");
    let body: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
    assert_eq!((text(&body, "request_id"), text(&body, "status")), (id.clone(), "Status.READY".to_owned()));
    assert_eq!(external(&body, "game"), port);

    tell_udp(port, "http-delete");
    let ended = server.api.wait_for(&id, "TERMINATED");
    assert_eq!(server.api.delete(&format!("/v1/stop/{id}")).status, 410);
    let ready = receiver.wait_for(&id, "READY");
    let end = receiver.wait_for(&id, "TERMINATED");
    assert_eq!((ready.path.as_str(), end.path.as_str()), ("/ready?x=1", "/end"));
    assert_eq!(external(&ready.json(), "game"), port);
    assert_eq!(end.json()["removal_time"], ended["removal_time"]);
    let secret = server.run(&["webhook", "secret"]);
    let secret = secret.text.split_whitespace().find(|word| word.starts_with("whsec_")).unwrap().to_owned();
    for received in [&ready, &end] {
        assert_eq!(received.header("webhook-signature").unwrap(), sign(&secret, received));
        assert_eq!(received.header("content-type"), Some("application/json"));
    }
    assert_ne!(ready.header("webhook-id"), end.header("webhook-id"));
    close(&server, &installation);
}

/// What the Standard Webhooks scheme wants to stand in `webhook-signature`.
fn sign(secret: &str, received: &Received) -> String {
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let header = |name: &str| received.header(name).unwrap();
    mac.update(
        format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), received.body).as_bytes(),
    );
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn a_container_is_held_tight_and_reaches_neither_neighbours_nor_the_host_nor_metadata(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let ports = json!([
        {"name": "game", "port": 7777, "protocol": "UDP"}, {"name": "tcp", "port": 7778, "protocol": "TCP"},
    ]);
    server.api.describe("arena", "v1", runtime.image(), &json!({"ports": ports}));
    let (_, port) = running(&server, &json!({}));
    let (_, neighbour) = running(&server, &json!({}));

    let status = ask_udp(port, "status");
    for word in [
        "pid=1",
        "NoNewPrivs=1",
        "Seccomp=2",
        "CapEff=00000000000005fb",
        "CapBnd=00000000000005fb",
        "CapAmb=0000000000000000",
    ] {
        assert!(status.split(' ').any(|found| found == word), "no {word} in {status}");
    }

    let gateway = installation.gateway();
    let neighbour_address = ask_udp(neighbour, "addr");
    // A service of this machine on all of its addresses: others reach it there, containers must not.
    let service = TcpListener::bind("0.0.0.0:0").unwrap();
    let service_port = service.local_addr().unwrap().port();
    for there in [format!("{neighbour_address}:7778"), format!("{gateway}:{service_port}")] {
        assert!(TcpStream::connect(&there).is_ok(), "nobody listens at {there}, so the test shows nothing");
    }
    for forbidden in [
        format!("{neighbour_address}:7778"),
        format!("{gateway}:{service_port}"),
        format!("{gateway}:{}", server.api.address.port()),
        "169.254.169.254:80".to_owned(),
        "100.100.100.200:80".to_owned(),
    ] {
        let answer = ask_udp(port, &format!("connect {forbidden}"));
        assert_ne!(answer, "connected", "{forbidden}");
    }
    let callback = server.ports.callback();
    assert_eq!(ask_udp(port, &format!("connect {gateway}:{callback}")), "connected");
    // The callback listener has two operations, and the API is not among them.
    let listener = format!("{gateway}:{callback}").parse().unwrap();
    let inside = spawnpoint_compat::Api { address: listener, token: server.api.token.clone() };
    for path in ["/v1/deployments", "/v1/apps", "/spawnpoint/v1/tokens", "/monitor"] {
        assert_eq!(inside.get(path).status, 404, "{path}");
    }
    close(&server, &installation);
}

fn a_game_that_ignores_sigterm_is_killed_after_its_grace_and_not_before(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let grace = json!({"termination_grace_period_seconds": 6});
    server.api.describe("arena", "v1", runtime.image(), &grace);
    let mode =
        json!({"environment_variables": [{"key": "GAME_MODE", "value": "ignore-term", "is_hidden": false}]});
    let (stubborn, port) = running(&server, &mode);
    let (polite, _) = running(&server, &json!({}));

    let started = Instant::now();
    for id in [&stubborn, &polite] {
        let answer = server.api.delete(&format!("/v1/stop/{id}")).expect(200);
        assert_eq!(text(&answer["deployment_summary"], "request_id"), **id);
    }
    let _ = server.api.wait_for_within(&polite, "TERMINATED", Duration::from_secs(5));
    // Within its grace it is still there for its players, and told to be going.
    assert_eq!(text(&server.api.status(&stubborn), "current_status"), "Status.TERMINATING");
    assert_eq!(ask_udp(port, "last words"), "last words");
    let _ = server.api.delete(&format!("/v1/stop/{stubborn}")).expect(200);
    let _ = server.api.wait_for(&stubborn, "TERMINATED");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(6) && took < Duration::from_secs(16), "{took:?}");
    close(&server, &installation);
}

fn a_process_that_ends_is_restarted_as_the_policy_says(runtime: &Runtime) {
    let (server, installation) = runtime.start();
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/")});
    let hooks = json!({"webhook_on_ready": hook, "webhook_on_error": hook, "webhook_on_terminated": hook});
    for policy in ["always", "on_failure", "never"] {
        server.api.describe("arena", policy, runtime.image(), &json!({"restart_policy": policy}));
    }
    for (policy, code, again) in
        [("always", 0, true), ("on_failure", 3, true), ("on_failure", 0, false), ("never", 3, false)]
    {
        let id = server.api.deploy("arena", policy, &hooks);
        let port = external(&server.api.wait_for(&id, "READY"), "game");
        let first = installation.container(&id).id;
        tell_udp(port, &format!("exit {code}"));
        if again {
            let state = eventually(&format!("{policy}, exit {code}: another container"), PATIENCE, || {
                assert_eq!(server.api.status(&id)["current_status"], json!("Status.READY"), "{policy}");
                let all = installation.containers_of(&id);
                all.into_iter().find(|container| container.id != first && container.is_running)
            });
            assert_eq!(state.attempt, 2);
            let port_again = external(&server.api.status(&id), "game");
            assert_eq!(port, port_again);
            eventually("it plays again", PATIENCE, || {
                (udp_ping(port) == Some(format!("pong {id}"))).then_some(())
            });
            server.api.stop(&id);
        }
        let ended = server.api.wait_for(&id, "TERMINATED");
        assert_eq!(ended["error"], json!(false));
        let _ = receiver.wait_for(&id, "TERMINATED");
        let about = receiver.received().iter().filter(|received| received.about().0 == id).count();
        assert_eq!(
            about, 2,
            "{policy}, exit {code}: one READY and one TERMINATED, restarts announce nothing"
        );
    }
    close(&server, &installation);
}

/// One try; a game that is being restarted does not answer.
fn udp_ping(port: u16) -> Option<String> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(local(port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.send(b"ping").ok()?;
    let mut answer = [0; 64];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn what_went_wrong_is_named_whether_memory_ran_out_a_process_ended_or_a_port_stayed_closed(
    runtime: &Runtime,
) {
    let (server, installation) = runtime.start();
    server.api.describe("arena", "patient", runtime.image(), &json!({"time_to_deploy": 60}));
    server.api.describe("arena", "hasty", runtime.image(), &json!({"time_to_deploy": 3}));
    let receiver = Receiver::open();
    let hook = json!({"url": receiver.url("/")});
    let cases = [
        ("oom", "patient", "OOM"),
        ("exit:42", "patient", "exit code 42"),
        ("never-listen", "hasty", "ports"),
    ];
    for (mode, version, words) in cases {
        let fields = json!({
            "environment_variables": [{"key": "GAME_MODE", "value": mode, "is_hidden": false}],
            "webhook_on_error": hook,
        });
        let id = server.api.deploy("arena", version, &fields);
        let status = eventually(&format!("{mode} is in error"), PATIENCE, || {
            Some(server.api.status(&id)).filter(|status| status["current_status"] == "Status.ERROR")
        });
        assert!(text(&status, "error_detail").contains(words), "{mode}: {status}");
        assert_eq!((&status["error"], &status["running"]), (&json!(true), &json!(false)));
        assert_eq!(receiver.wait_for(&id, "ERROR").json()["error_detail"], status["error_detail"]);
        eventually("its container is gone", PATIENCE, || {
            installation.containers_of(&id).is_empty().then_some(())
        });
        let _ = server.api.delete(&format!("/v1/stop/{id}")).expect(200);
        let _ = server.api.wait_for(&id, "TERMINATED");
    }
    close(&server, &installation);
}
